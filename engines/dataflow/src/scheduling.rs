//! What threads of the engine ask of the system's scheduler. Requests: a system that does not know them goes on as it does.

/// The niceness of a thread that works ahead: it takes what writers and clients leave.
const NICENESS_AHEAD: libc::c_int = 10;

/// The calling thread's work can wait for that of others.
pub fn can_wait() {
    // SAFETY: 0 is the calling thread; only its niceness changes.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS_AHEAD) };
}
