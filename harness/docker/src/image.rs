//! The image of an agent: its binary and libraries, packed in memory and tagged by their content.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use bollard::{
    body_full,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};
use futures_util::StreamExt as _;
use openssl::sha::Sha256;

use crate::{
    engine::Engine,
    error::{DockerError, DockerErrorKind},
    libraries::{debug_file_of, is_of_c_library, needs_of},
};

/// The name of every image that is built here; the tag is its content.
pub const REPOSITORY: &str = "uplift-agent";
/// The label of every image that is built here.
pub const IMAGE_LABEL: &str = "uplift.image";
/// Where the agent finds its data.
pub const DATA_DIR: &str = "/data";

const BINARY: &str = "opt/uplift/uplift";
const LIBRARIES: &str = "opt/uplift/lib";

/// What goes into an image, and its name.
pub struct Recipe {
    /// `uplift-agent:<digest>`.
    pub name: String,
    context: Vec<u8>,
}

impl Recipe {
    /// Packs `binary` with its libraries, and with their separate debug information where `symbols` are wanted and the
    /// machine has it. On a base image the base's own C library is used, so the base must be at least as new as the
    /// machine on which the binary was linked.
    ///
    /// # Errors
    /// Where the binary cannot be packed, or there is no such base.
    pub fn new(engine: &Engine, binary: &Path, base: Option<&str>, symbols: bool) -> Result<Self, DockerError> {
        let base_id = base.map(|base| image_id(engine, base)).transpose()?;
        let mut files = files_of(binary, base.is_some())?;
        if symbols {
            let separate: Vec<PathBuf> = files.values().filter_map(|file| debug_file_of(file)).collect();
            files.extend(separate.into_iter().map(|file| (inside(&file), file)));
        }
        let fail = |error: std::io::Error| {
            DockerError::new(format!("packing `{}`", binary.display()), DockerErrorKind::Binary(error.to_string()))
        };
        let from = base.unwrap_or("scratch");
        let content = pack("", from, &files).map_err(fail)?;
        // Two images of one name would run the wrong binary: a digest that nobody collides with, from the library that
        // TLS brings anyway.
        let mut digest = Sha256::new();
        digest.update(&content);
        digest.update(base_id.unwrap_or_default().as_bytes());
        let digest: String = digest.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{REPOSITORY}:{digest}");
        // Packed again with its own name in the label: the name cannot be part of what it is made from.
        let context = pack(&name, from, &files).map_err(fail)?;
        Ok(Self { name, context })
    }

    /// Builds the image unless the Engine has it.
    ///
    /// # Errors
    /// What the Engine's builder said.
    pub fn build(&self, engine: &Engine) -> Result<(), DockerError> {
        if image_id(engine, &self.name).is_ok() {
            return Ok(());
        }
        let context = || format!("building `{}`", self.name);
        let options = BuildImageOptionsBuilder::default()
            .dockerfile("Dockerfile")
            .t(&self.name)
            .rm(true)
            .forcerm(true)
            .version(BuilderVersion::BuilderV1)
            .build();
        engine.block_on(async {
            let mut steps = engine.client().build_image(options, None, Some(body_full(self.context.clone().into())));
            while let Some(step) = steps.next().await {
                let step = step.map_err(|error| {
                    let error = DockerError::from_client(context(), &error);
                    match error.kind {
                        DockerErrorKind::Refused { message, .. } | DockerErrorKind::Broken(message) => {
                            DockerError::new(context(), DockerErrorKind::Build(message))
                        }
                        _ => error,
                    }
                })?;
                if let Some(message) = step.error_detail.and_then(|detail| detail.message) {
                    return Err(DockerError::new(context(), DockerErrorKind::Build(message.trim().to_owned())));
                }
            }
            Ok(())
        })
    }
}

/// The id of an image.
///
/// # Errors
/// [`DockerErrorKind::NoImage`], or what the Engine said.
pub fn image_id(engine: &Engine, name: &str) -> Result<String, DockerError> {
    let answer = engine.wait(format!("looking for the image `{name}`"), engine.client().inspect_image(name));
    match answer {
        Ok(image) => Ok(image.id.unwrap_or_default()),
        Err(error) if error.status() == Some(404) => {
            Err(DockerError::new("looking for the image", DockerErrorKind::NoImage(name.to_owned())))
        }
        Err(error) => Err(error),
    }
}

/// The same path in an image.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Path in the image → file on this machine.
fn files_of(binary: &Path, on_base: bool) -> Result<BTreeMap<String, PathBuf>, DockerError> {
    let needs = needs_of(binary)?;
    let mut files = BTreeMap::from([(BINARY.to_owned(), binary.to_owned())]);
    if let Some(loader) = needs.loader.filter(|_| !on_base) {
        // The kernel looks for the loader under the very name that the binary has for it.
        files.insert(inside(&loader), loader);
    }
    for library in needs.libraries {
        if on_base && is_of_c_library(&library) {
            continue;
        }
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(format!("{LIBRARIES}/{name}"), library);
    }
    Ok(files)
}

/// The build context as a tar archive, the same bytes for the same files.
fn pack(label: &str, from: &str, files: &BTreeMap<String, PathBuf>) -> std::io::Result<Vec<u8>> {
    let dockerfile = format!(
        "FROM {from}\nCOPY root/ /\nENV LD_LIBRARY_PATH=/{LIBRARIES} TMPDIR={DATA_DIR}\nLABEL {IMAGE_LABEL}=\"{label}\"\nENTRYPOINT [\"/{BINARY}\"]\nCMD []\n"
    );
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |name: &str, bytes: &[u8], mode: u32, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, name, bytes)
    };
    append("Dockerfile", dockerfile.as_bytes(), 0o644, tar::EntryType::Regular)?;
    // A fresh volume takes the mode of the directory that it covers: whoever the agent is may write there.
    append(&format!("root{DATA_DIR}/"), &[], 0o1777, tar::EntryType::Directory)?;
    append(&format!("root/{LIBRARIES}/"), &[], 0o755, tar::EntryType::Directory)?;
    for (name, file) in files {
        append(&format!("root/{name}"), &fs::read(file)?, 0o755, tar::EntryType::Regular)?;
    }
    archive.into_inner()
}

/// The labels of everything that belongs to a run.
pub(crate) fn labels(run: &str, owner: &str) -> HashMap<String, String> {
    HashMap::from([
        (crate::owner::RUN_LABEL.to_owned(), run.to_owned()),
        (crate::owner::OWNER_LABEL.to_owned(), owner.to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::own_binary;

    #[test]
    fn packing_is_repeatable_and_holds_loader_binary_and_libraries() {
        let files = files_of(&own_binary(), false).unwrap();
        let first = pack("a", "scratch", &files).unwrap();
        assert!(first == pack("a", "scratch", &files).unwrap(), "the same files are the same bytes");
        let mut archive = tar::Archive::new(first.as_slice());
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert!(names.contains(&format!("root/{BINARY}")), "{names:?}");
        assert!(names.iter().any(|name| name.contains("libc.so")), "{names:?}");
        let loader = needs_of(&own_binary()).unwrap().loader.unwrap();
        assert!(names.contains(&format!("root{}", loader.display())), "{names:?}");
    }

    #[test]
    fn on_a_base_the_c_library_is_the_bases() {
        let files = files_of(&own_binary(), true).unwrap();
        assert!(!files.keys().any(|name| name.contains("libc.so") || name.contains("ld-linux")), "{files:?}");
    }
}
