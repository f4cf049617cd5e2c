//! `--docker-arg`: options of `docker run` that change the container, under the names that they have there.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, DeviceMapping, HostConfig, ResourcesUlimits, ThrottleDevice};

/// An option that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{argument}`: {rule}")]
pub struct ArgumentError {
    /// The option as it was written.
    pub argument: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// Options that were checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerArgs {
    options: Vec<(String, String)>,
}

/// Every option that is understood, as `docker run` calls it.
pub const KNOWN: [&str; 32] = [
    "add-host",
    "blkio-weight",
    "cap-add",
    "cap-drop",
    "cgroup-parent",
    "cpu-shares",
    "cpuset-cpus",
    "cpuset-mems",
    "device",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "env",
    "group-add",
    "hostname",
    "init",
    "ipc",
    "memory-reservation",
    "network",
    "oom-score-adj",
    "pid",
    "pids-limit",
    "privileged",
    "read-only",
    "runtime",
    "security-opt",
    "shm-size",
    "sysctl",
    "tmpfs",
    "ulimit",
    "volume",
];

/// Options without a value.
const SWITCHES: [&str; 3] = ["init", "privileged", "read-only"];

impl ContainerArgs {
    /// Checks options such as `--device-write-iops=/dev/sda:50` or `network=host`.
    ///
    /// # Errors
    /// The first that is not understood, and the rule.
    pub fn parse(arguments: &[String]) -> Result<Self, ArgumentError> {
        let mut parsed = Self::default();
        for argument in arguments {
            let fail = |rule: String| ArgumentError { argument: argument.clone(), rule };
            let text = argument.trim_start_matches('-');
            let (name, value) = text.split_once(['=', ' ']).unwrap_or((text, ""));
            if !KNOWN.contains(&name) {
                return Err(fail(format!("there is no such option of `docker run` here; known: {}", KNOWN.join(", "))));
            }
            let switch = SWITCHES.contains(&name);
            if value.trim().is_empty() && !switch {
                return Err(fail(format!("write {name}=VALUE")));
            }
            let option = (name.to_owned(), value.trim().to_owned());
            apply(&mut ContainerCreateBody::default(), &option).map_err(fail)?;
            parsed.options.push(option);
        }
        Ok(parsed)
    }

    /// Writes them into a container's description, in order.
    pub(crate) fn apply_to(&self, body: &mut ContainerCreateBody) {
        for option in &self.options {
            // Each was tried when it was parsed.
            let _ = apply(body, option);
        }
    }

    /// As they would be written again.
    pub fn describe(&self) -> Vec<String> {
        self.options
            .iter()
            .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") })
            .collect()
    }
}

fn apply(body: &mut ContainerCreateBody, (name, value): &(String, String)) -> Result<(), String> {
    if name == "env" {
        body.env.get_or_insert_with(Vec::new).push(value.clone());
        return Ok(());
    }
    if name == "hostname" {
        body.hostname = Some(value.clone());
        return Ok(());
    }
    let host = body.host_config.get_or_insert_with(HostConfig::default);
    let list = |field: &mut Option<Vec<String>>| field.get_or_insert_with(Vec::new).push(value.clone());
    match name.as_str() {
        "add-host" => list(&mut host.extra_hosts),
        "cap-add" => list(&mut host.cap_add),
        "cap-drop" => list(&mut host.cap_drop),
        "group-add" => list(&mut host.group_add),
        "security-opt" => list(&mut host.security_opt),
        "volume" => list(&mut host.binds),
        "blkio-weight" => host.blkio_weight = Some(number(value)?),
        "cgroup-parent" => host.cgroup_parent = Some(value.clone()),
        "cpu-shares" => host.cpu_shares = Some(number(value)?),
        "cpuset-cpus" => host.cpuset_cpus = Some(value.clone()),
        "cpuset-mems" => host.cpuset_mems = Some(value.clone()),
        "device" => host.devices.get_or_insert_with(Vec::new).push(device(value)),
        "device-read-bps" => throttle(&mut host.blkio_device_read_bps, value, size)?,
        "device-write-bps" => throttle(&mut host.blkio_device_write_bps, value, size)?,
        "device-read-iops" => throttle(&mut host.blkio_device_read_iops, value, number)?,
        "device-write-iops" => throttle(&mut host.blkio_device_write_iops, value, number)?,
        "init" => host.init = Some(switch(value)?),
        "ipc" => host.ipc_mode = Some(value.clone()),
        "memory-reservation" => host.memory_reservation = Some(size(value)?),
        "network" => host.network_mode = Some(value.clone()),
        "oom-score-adj" => host.oom_score_adj = Some(number(value)?),
        "pid" => host.pid_mode = Some(value.clone()),
        "pids-limit" => host.pids_limit = Some(number(value)?),
        "privileged" => host.privileged = Some(switch(value)?),
        "read-only" => host.readonly_rootfs = Some(switch(value)?),
        "runtime" => host.runtime = Some(value.clone()),
        "shm-size" => host.shm_size = Some(size(value)?),
        "sysctl" => insert(&mut host.sysctls, value, '=')?,
        "tmpfs" => insert(&mut host.tmpfs, value, ':')?,
        "ulimit" => host.ulimits.get_or_insert_with(Vec::new).push(ulimit(value)?),
        _ => return Err("it is not understood".to_owned()),
    }
    Ok(())
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("`{other}` is neither true nor false")),
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is not a number that fits"))
}

fn size(value: &str) -> Result<i64, String> {
    parse_size(value).and_then(|bytes| i64::try_from(bytes).map_err(|_| format!("`{value}` is too much")))
}

/// Reads a number of bytes: `536870912`, `512m`, `2GiB`. The units are powers of 1024, as in `docker run`.
///
/// # Errors
/// The rule that it breaks.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let rule = || format!("`{text}` is not a size; write a number of bytes, or one with b, k, m, g or t, such as 512m");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(rule()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(rule)
}

fn throttle(
    field: &mut Option<Vec<ThrottleDevice>>,
    value: &str,
    rate: fn(&str) -> Result<i64, String>,
) -> Result<(), String> {
    let (path, amount) = value.rsplit_once(':').ok_or("write DEVICE:RATE, such as /dev/sda:50")?;
    let device = ThrottleDevice { path: Some(path.to_owned()), rate: Some(rate(amount)?) };
    field.get_or_insert_with(Vec::new).push(device);
    Ok(())
}

fn device(value: &str) -> DeviceMapping {
    let mut parts = value.splitn(3, ':');
    let outside = parts.next().unwrap_or_default();
    DeviceMapping {
        path_on_host: Some(outside.to_owned()),
        path_in_container: Some(parts.next().unwrap_or(outside).to_owned()),
        cgroup_permissions: Some(parts.next().unwrap_or("rwm").to_owned()),
    }
}

fn insert(field: &mut Option<HashMap<String, String>>, value: &str, between: char) -> Result<(), String> {
    let (key, value) = match value.split_once(between) {
        Some(pair) => pair,
        None if between == ':' => (value, ""),
        None => return Err(format!("write NAME{between}VALUE")),
    };
    field.get_or_insert_with(HashMap::new).insert(key.to_owned(), value.to_owned());
    Ok(())
}

fn ulimit(value: &str) -> Result<ResourcesUlimits, String> {
    let (name, limits) = value.split_once('=').ok_or("write NAME=SOFT[:HARD], such as nofile=1024:2048")?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(number(soft)?), hard: Some(number(hard)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<ContainerCreateBody, ArgumentError> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut body = ContainerCreateBody::default();
        ContainerArgs::parse(&arguments)?.apply_to(&mut body);
        Ok(body)
    }

    #[test]
    fn options_arrive_in_the_description() {
        let body = parse(&[
            "--device-write-iops=/dev/vda:50",
            "device-read-bps=/dev/vda:1m",
            "--network host",
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYSLOG",
            "--privileged",
            "--ulimit=nofile=1024:2048",
            "--env=A=b=c",
            "--tmpfs=/scratch",
        ])
        .unwrap();
        assert_eq!(body.env.unwrap(), ["A=b=c"]);
        let host = body.host_config.unwrap();
        assert_eq!(host.blkio_device_write_iops.unwrap()[0].rate, Some(50));
        assert_eq!(host.blkio_device_read_bps.unwrap()[0].rate, Some(1 << 20));
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert_eq!(host.cap_add.unwrap(), ["SYS_ADMIN", "SYSLOG"]);
        assert_eq!(host.privileged, Some(true));
        assert_eq!(host.ulimits.unwrap()[0].hard, Some(2048));
        assert_eq!(host.tmpfs.unwrap()["/scratch"], "");
    }

    #[test]
    fn every_known_option_is_understood() {
        for name in KNOWN {
            let value = match name {
                "device-read-bps" | "device-read-iops" | "device-write-bps" | "device-write-iops" => "=/dev/sda:7",
                "sysctl" => "=net.core.somaxconn=7",
                "ulimit" => "=nofile=7",
                name if SWITCHES.contains(&name) => "",
                _ => "=7",
            };
            parse(&[&format!("--{name}{value}")]).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_rule() {
        for (argument, rule) in [
            ("--detach", "no such option"),
            ("--network", "write network=VALUE"),
            ("--device-write-iops=50", "write DEVICE:RATE"),
            ("--pids-limit=many", "not a number"),
            ("--shm-size=1x", "not a size"),
            ("--privileged=maybe", "neither true nor false"),
        ] {
            let error = parse(&[argument]).unwrap_err().to_string();
            assert!(error.contains(argument) && error.contains(rule), "{error}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("512m").unwrap(), 512 << 20);
        assert_eq!(parse_size("2GiB").unwrap(), 2 << 30);
        assert_eq!(parse_size("42").unwrap(), 42);
        for wrong in ["", "m", "1.5g", "-1", "99999999999999t"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
