//! What says on an Engine that a run is alive while it has no container there: between two trials, and while its first
//! image is built. A prune keeps images as long as it finds one.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptions};

use crate::{engine::Engine, error::DockerError, image::labels, launcher::container_name, owner::Owner};

/// Two launchers of one run hold each for itself: the first to end must not let go for the other.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// An empty volume with the labels of the run. It goes with the value; where the harness is killed, a prune finds that
/// its owner is dead.
pub(crate) struct Hold {
    engine: Arc<Engine>,
    volume: String,
}

impl Hold {
    /// # Errors
    /// What the Engine said.
    pub(crate) fn take(engine: &Arc<Engine>, run: &str) -> Result<Self, DockerError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let volume = container_name(run, &format!("alive-{}-{number}", std::process::id()));
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(labels(run, &Owner::current().label())),
            ..VolumeCreateRequest::default()
        };
        engine.wait(format!("creating the volume `{volume}`"), engine.client().create_volume(request))?;
        Ok(Self { engine: Arc::clone(engine), volume })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // An Engine that is gone took it along or leaves it for the next prune.
        let _ = self.engine.wait(
            "removing the volume of a run",
            self.engine.client().remove_volume(&self.volume, None::<RemoveVolumeOptions>),
        );
    }
}

/// What the reader of a run is told where it could not be taken.
pub(crate) fn not_held(error: &DockerError) -> String {
    format!("a `docker prune` beside this run may remove its image, which is then built again: {error}")
}
