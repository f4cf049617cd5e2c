//! A prepared statement that takes texts where they lie: rusqlite copies each text that it binds into memory of its own.

use std::{
    ffi::{CStr, c_int},
    ptr::{self, NonNull},
    rc::Rc,
};

use rusqlite::{Connection, ffi};

use crate::value::Value;

/// A statement without results.
pub struct Statement {
    raw: NonNull<ffi::sqlite3_stmt>,
    /// Whose statement it is: a connection closes after its statements.
    connection: Rc<Connection>,
}

impl Statement {
    /// Prepares `sql`, which is one statement.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn prepare(connection: &Rc<Connection>, sql: &str) -> rusqlite::Result<Self> {
        let mut raw = ptr::null_mut();
        let length = c_int::try_from(sql.len()).map_err(|_| failure(ffi::SQLITE_TOOBIG, None))?;
        // SAFETY: the handle is that of a connection that is open; the text is `length` bytes long; `raw` is written to.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                connection.handle(),
                sql.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut raw,
                ptr::null_mut(),
            )
        };
        match NonNull::new(raw) {
            Some(raw) if code == ffi::SQLITE_OK => Ok(Self { raw, connection: Rc::clone(connection) }),
            _ => Err(reason(connection, code)),
        }
    }

    /// Carries the statement out with `values` for its parameters, in their order.
    ///
    /// # Errors
    /// What SQLite says, and [`ffi::SQLITE_RANGE`] where there are not as many values as parameters.
    pub fn execute<'v>(&mut self, values: impl Iterator<Item = Value<'v>>) -> rusqlite::Result<()> {
        let mut bound = 0;
        for value in values {
            bound += 1;
            let code = self.bind(bound, value);
            if code != ffi::SQLITE_OK {
                return Err(reason(&self.connection, code));
            }
        }
        // SAFETY: the statement lives until it is dropped.
        if bound != unsafe { ffi::sqlite3_bind_parameter_count(self.raw.as_ptr()) } {
            return Err(failure(ffi::SQLITE_RANGE, Some(format!("{bound} values are not one for each parameter"))));
        }
        // SAFETY: as above. All parameters were just bound, to values that outlive this call.
        let code = unsafe { ffi::sqlite3_step(self.raw.as_ptr()) };
        let result = if code == ffi::SQLITE_DONE { Ok(()) } else { Err(reason(&self.connection, code)) };
        // SAFETY: as above. It says again what the step said.
        unsafe { ffi::sqlite3_reset(self.raw.as_ptr()) };
        result
    }

    #[inline]
    fn bind(&mut self, parameter: c_int, value: Value<'_>) -> c_int {
        let raw = self.raw.as_ptr();
        // SAFETY: the statement lives until it is dropped. A text is read while the statement is carried out and not
        // later: `execute` does that only after it has bound every parameter anew, and binding or dropping does not look
        // at what was bound before.
        unsafe {
            match value {
                Value::Null => ffi::sqlite3_bind_null(raw, parameter),
                Value::Integer(value) | Value::Timestamp(value) => ffi::sqlite3_bind_int64(raw, parameter, value),
                Value::Boolean(value) => ffi::sqlite3_bind_int64(raw, parameter, i64::from(value)),
                Value::Float(value) => ffi::sqlite3_bind_double(raw, parameter, value),
                Value::Text(text) | Value::Json(text) => ffi::sqlite3_bind_text64(
                    raw,
                    parameter,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_STATIC(),
                    ffi::SQLITE_UTF8 as u8,
                ),
            }
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the statement is ours, its connection is still open, and nobody uses it after this.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// What the connection says about its last call, which gave `code`.
fn reason(connection: &Connection, code: c_int) -> rusqlite::Error {
    // SAFETY: the connection is open; the message ends with zero and is copied before another call can change it.
    let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(connection.handle())) };
    failure(code, Some(message.to_string_lossy().into_owned()))
}

fn failure(code: c_int, message: Option<String>) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), message)
}
