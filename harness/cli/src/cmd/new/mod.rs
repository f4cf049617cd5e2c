//! `uplift new FOLDER`: a crate for a target of one's own, which builds and runs as it is.
//!
//! It depends on what runs inside the measured process and on nothing of the harness: `uplift_agent::main` serves trials and
//! hands every other command line to the installed `uplift`.

use std::{fs, io, path::Path};

use crate::{args::NewArgs, error::CliError, exit, output::Terminal};

/// The sources of this binary, where they still are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Names that cannot be a crate's although they look like one.
const RESERVED: [&str; 8] = ["test", "core", "std", "alloc", "crate", "self", "super", "uplift"];
/// What is written, and where.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("template/config.toml.in")),
    (".gitignore", include_str!("template/gitignore.in")),
    ("README.md", include_str!("template/README.md.in")),
    ("src/main.rs", include_str!("template/main.rs.in")),
    ("src/target.rs", include_str!("template/target.rs.in")),
    ("scenarios/{{name}}/append.toml", include_str!("template/append.toml.in")),
    (".github/workflows/bench.yml", include_str!("template/bench.yml.in")),
];

/// Writes the crate and says how to go on.
pub fn run(args: &NewArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let folder = &args.folder;
    let name = name_of(folder)?;
    let sdk = Sdk::of(args.sdk.as_deref())?;
    let failed = |path: &Path, error: io::Error| {
        CliError::environment(
            format!("could not create `{}`: {error}", path.display()),
            "name a folder that can be written",
        )
    };
    let holds_something = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something || folder.is_file() {
        return Err(CliError::usage(
            format!("`{}` exists already, and nothing is overwritten", folder.display()),
            "name a folder that does not exist or is empty",
        ));
    }
    for (file, template) in FILES {
        let path = folder.join(file.replace("{{name}}", &name));
        let text = template
            .replace("{{name}}", &name)
            .replace("{{agent}}", &sdk.dependency("agent", false))
            .replace("{{profiler}}", &sdk.dependency("profiler", true))
            .replace("{{sdk}}", &sdk.dependency("sdk", false));
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    terminal.say(&format!(
        "`{}` is a crate with the target `{name}`; the SDK comes from {}\n\n  cd {0}\n  cargo run -- verify\n  cargo run -- compare synced unsynced --quick\n\nput your system in the place of src/target.rs",
        folder.display(),
        sdk.words()
    ));
    Ok(exit::OK)
}

/// The name of the crate and of its target.
fn name_of(folder: &Path) -> Result<String, CliError> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if begins && rest && !RESERVED.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(CliError::usage(
        format!("`{name}` cannot be the name of a crate and of a target"),
        "write lower-case letters, digits, - and _, beginning with a letter, and no name of the language: my-bench",
    ))
}

/// Where the crates of the SDK come from.
enum Sdk {
    Checkout(String),
    Git(String),
    Registry,
}

impl Sdk {
    fn of(asked: Option<&str>) -> Result<Self, CliError> {
        let is_checkout = |folder: &Path| folder.join("harness/sdk/Cargo.toml").is_file();
        let absolute = |folder: &Path| {
            let path = folder.canonicalize().ok().and_then(|path| path.to_str().map(str::to_owned));
            path.map(Self::Checkout).ok_or_else(|| {
                CliError::usage(format!("`{}` is no path that a Cargo.toml can hold", folder.display()), "move it")
            })
        };
        match asked {
            Some(address) if address.contains("://") || address.starts_with("git@") => {
                Ok(Self::Git(address.to_owned()))
            }
            Some(folder) if is_checkout(Path::new(folder)) => absolute(Path::new(folder)),
            Some(folder) => Err(CliError::usage(
                format!("--sdk: `{folder}` is no checkout of uplift and no address of one"),
                "name the root of a checkout, or an address with ://",
            )),
            None if is_checkout(Path::new(SOURCES)) => absolute(Path::new(SOURCES)),
            None => Ok(Self::Registry),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Checkout(folder) => format!("the checkout `{folder}`"),
            Self::Git(address) => address.clone(),
            Self::Registry => "crates.io (name a checkout or an address with --sdk if it is elsewhere)".to_owned(),
        }
    }

    /// What stands behind `uplift-CRATE =`.
    fn dependency(&self, package: &str, optional: bool) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut table = toml::Table::new();
        match self {
            Self::Checkout(folder) => {
                drop(table.insert("path".to_owned(), format!("{folder}/harness/{package}").into()))
            }
            Self::Git(address) => drop(table.insert("git".to_owned(), address.clone().into())),
            Self::Registry => drop(table.insert("version".to_owned(), version.into())),
        }
        if optional {
            table.insert("optional".to_owned(), true.into());
        }
        toml::Value::Table(table).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for good in ["my-bench", "a", "kv_2"] {
            assert_eq!(name_of(Path::new("some/where").join(good).as_path()).unwrap(), good);
        }
        for bad in ["My", "2fast", "a b", "test", "..", ""] {
            assert!(name_of(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn dependencies_are_inline_tables() {
        let sdk = Sdk::Git("https://example.com/u".to_owned());
        assert_eq!(sdk.dependency("sdk", false), r#"{ git = "https://example.com/u" }"#);
        assert!(sdk.dependency("profiler", true).contains("optional = true"));
    }
}
