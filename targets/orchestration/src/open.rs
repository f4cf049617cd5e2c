//! From the settings to a provider that is set up.

use std::path::Path;

use uplift_sdk::TargetError;

use crate::{
    bundled::Bundled,
    engine::Engine,
    grouped::Grouped,
    settings::{Provider, Settings},
};

/// Sets up the provider that the settings name.
pub async fn open(settings: &Settings, data_dir: &Path) -> Result<Box<dyn Engine>, TargetError> {
    Ok(match settings.provider {
        Provider::Sqlite => Box::new(Bundled::open(settings, data_dir).await?),
        Provider::Grouped => Box::new(Grouped::open(settings, data_dir)?),
        #[cfg(feature = "duroxide-pg")]
        Provider::Postgres => Box::new(crate::postgres::Postgres::open(settings, data_dir).await?),
        #[cfg(not(feature = "duroxide-pg"))]
        Provider::Postgres => {
            let kind = uplift_sdk::TargetErrorKind::Unavailable {
                state: "this binary was built without the crate duroxide-pg".to_owned(),
                remedy: "build it with `--features uplift-orchestration/duroxide-pg`".to_owned(),
            };
            return Err(TargetError::new("opening the provider", kind));
        }
    })
}
