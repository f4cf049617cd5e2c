//! The service of another agent, which this one only asks.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};
use uplift_sdk::{
    Check, Client, Drain, Durability, OpenContext, Part, Samples, SettingsError, Target, TargetError, model::Table,
};

use crate::{
    client::{Clients, sample_cpu},
    driver::{Address, Options, address::Endpoint},
    life::{self, Data, Home},
    parameters::Share,
    plan::Plan,
    settings::{HttpVersion, Tls},
    target::helper_line,
};

/// What an agent must know to ask a service that another keeps.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct System {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    base: String,
    tls: Tls,
    /// The text of the certificates that are trusted: their file may be on another machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

/// Where the service of this agent is, for others.
pub fn system(options: &Options) -> Option<Table> {
    let address = &options.address;
    let (host, port, path) = match &address.endpoint {
        Endpoint::Tcp(host, port) => (Some(host.clone()), Some(*port), None),
        Endpoint::Unix(path) => (None, None, Some(path.to_str()?.to_owned())),
    };
    let system = System {
        host,
        port,
        path,
        encrypted: address.tls,
        user: address.user.clone(),
        password: address.password.clone(),
        database: address.database.clone(),
        base: address.base.clone(),
        ca: options.tls.ca.as_ref().and_then(|file| fs::read_to_string(file).ok()),
        tls: options.tls.clone(),
    };
    match serde_json::to_value(system) {
        Ok(serde_json::Value::Object(table)) => Some(table),
        _ => None,
    }
}

impl System {
    fn address(&self) -> Option<Address> {
        let endpoint = match (&self.host, self.port, &self.path) {
            (Some(host), Some(port), None) => Endpoint::Tcp(host.clone(), port),
            (None, None, Some(path)) => Endpoint::Unix(path.into()),
            _ => return None,
        };
        Some(Address {
            tls: self.encrypted,
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database.clone(),
            base: self.base.clone(),
            ..Address::of(endpoint)
        })
    }

    fn tls(&self, folder: &Path) -> Result<Tls, TargetError> {
        let mut tls = self.tls.clone();
        if let Some(text) = &self.ca {
            let file = folder.join("ca.pem");
            let context = || format!("writing the certificates that are trusted to `{}`", file.display());
            fs::write(&file, text).map_err(|error| TargetError::new(context(), error))?;
            tls.ca = Some(file.display().to_string());
        }
        Ok(tls)
    }
}

/// Joins the service that another agent keeps.
///
/// # Errors
/// An address or a workload that makes no sense.
pub fn join(context: &OpenContext, part: Part) -> Result<Box<dyn Target>, TargetError> {
    let reading = |error: SettingsError| TargetError::new("reading the scenario", error);
    let (workload, variant) = crate::read(&context.workload, &context.settings).map_err(reading)?;
    let plan = Plan::compile(&workload).map_err(reading)?;
    let asked = || "reading where the service is".to_owned();
    let system: System = serde_json::from_value(serde_json::Value::Object(part.system))
        .map_err(|error| TargetError::engine(asked(), error))?;
    let address = system.address().ok_or_else(|| TargetError::engine(asked(), "neither host and port nor a path"))?;
    let life = life::Plan { workload: workload.clone(), variant, protocol: plan.protocol, data: Data::OfTrial };
    // Its data are elsewhere; what is `{data}` here is a folder for the helper.
    let home = Home::create(&context.data_dir, &life, None)?;
    let mut options = Options {
        address,
        timeout: workload.timeout.0,
        query_mode: workload.query_mode,
        tls: system.tls(&context.data_dir)?,
        http2: workload.http == HttpVersion::Two,
        helper: None,
    };
    options.helper = workload.helper.as_ref().map(|line| helper_line(line, &options.address, &home));
    let share = Share { number: u64::from(part.number), of: u64::from(part.of.max(1)) };
    Ok(Box::new(Joined { clients: Clients::new(&workload, &plan, &options, context, share)?, _home: home }))
}

struct Joined {
    clients: Clients,
    _home: Home,
}

impl Target for Joined {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn durability(&self) -> Durability {
        Durability::None
    }

    fn client(&self, index: usize, seed: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        self.clients.client(index, seed)
    }

    fn quiesce(&self) -> Result<(), TargetError> {
        let fatal = self.clients.shared.failures.fatal();
        fatal.map_or(Ok(()), |why| Err(TargetError::engine("under load", why)))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain { owed: Some(0), detail: self.clients.shared.failures.summary(), ..Drain::default() })
    }

    fn check(&self) -> Result<Check, TargetError> {
        Ok(Check { passed: true, checked: 0, detail: "the agent that keeps the service checks it".to_owned() })
    }

    fn sample(&self, samples: &mut Samples) {
        sample_cpu(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Protocol, QueryMode};

    #[test]
    fn an_address_is_the_same_on_the_other_side() {
        let folder = std::env::temp_dir();
        for address in [
            Address::parse("https://u:p@example:8443/base", Protocol::Http).unwrap(),
            Address::of(Endpoint::Unix("/tmp/x/s".into())),
        ] {
            let options = Options {
                address: address.clone(),
                timeout: std::time::Duration::from_secs(1),
                query_mode: QueryMode::default(),
                tls: Tls::default(),
                http2: false,
                helper: None,
            };
            let told: System = serde_json::from_value(serde_json::Value::Object(system(&options).unwrap())).unwrap();
            assert!(told.address().unwrap() == address);
            assert_eq!(told.tls(&folder).unwrap().ca, None);
        }
    }
}
