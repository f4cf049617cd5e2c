//! The files whose code processes run, each opened once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use object::{Object as _, ObjectSegment as _};

use super::{ADDRESS_BITS, ADDRESS_MASK};
use crate::maps::{self, Image, Mapping, Module, VDSO};

/// One file.
pub struct File {
    /// Its number, from 1.
    pub number: u16,
    image: Arc<Image>,
    /// Whether it is a program or library, whose segments say where code lies.
    is_object: bool,
}

impl File {
    /// Address in memory minus address in the file.
    pub fn bias(&self, mapping: &Mapping) -> u64 {
        let of_object = || maps::bias(&object::File::parse(&**self.image).ok()?, mapping);
        // Of something else the offset in the file stands for an address.
        let plain = mapping.range.start.wrapping_sub(mapping.offset);
        if self.is_object { of_object().unwrap_or(plain) } else { plain }
    }
}

/// All files that were met.
#[derive(Default)]
pub struct Files {
    /// By name, and by inode where it is known: a program that is built again is another.
    known: HashMap<(String, u64), File>,
    modules: Vec<Module>,
    /// Modules that were given out already.
    given: usize,
    last_number: u16,
    warnings: Vec<String>,
}

impl Files {
    /// The file of a mapping; `None` for memory that is no file's.
    pub fn of(&mut self, pid: u32, mapping: &Mapping, inode: u64) -> Option<&File> {
        let is_file = mapping.name.starts_with('/') && !mapping.name.starts_with("//");
        let is_memory = ["/memfd:", "/dev/zero", "/SYSV"].iter().any(|start| mapping.name.starts_with(start));
        if mapping.name != VDSO && (!is_file || is_memory) {
            return None;
        }
        let key = (mapping.name.clone(), inode);
        if !self.known.contains_key(&key) {
            let file = self.open(pid, &mapping.name)?;
            self.known.insert(key.clone(), file);
        }
        self.known.get(&key)
    }

    fn open(&mut self, pid: u32, name: &str) -> Option<File> {
        let number = self.take_number()?;
        let (path, image) = if name == VDSO {
            (None, maps::own_vdso().unwrap_or_else(|| Image::Memory(Vec::new())))
        } else {
            // As the process sees it, which may be in a container; it may have ended meanwhile.
            let seen = PathBuf::from(format!("/proc/{pid}/root{name}"));
            let opened = maps::open(&seen).or_else(|_| maps::open(Path::new(name)));
            let image = opened.unwrap_or_else(|error| {
                self.warnings.push(format!("the code of `{name}` has no names: {error}"));
                Image::Memory(Vec::new())
            });
            (Some(PathBuf::from(name)), image)
        };
        let image = Arc::new(image);
        let is_object = object::File::parse(&**image).is_ok_and(|object| object.segments().any(|s| s.size() > 0));
        let bias = u64::from(number) << ADDRESS_BITS;
        self.modules.push(Module {
            name: name.to_owned(),
            path,
            range: bias..bias | ADDRESS_MASK,
            bias,
            image: Arc::clone(&image),
        });
        Some(File { number, image, is_object })
    }

    /// The next number, of a file or of what lies in none; `None` where there are no more.
    pub fn take_number(&mut self) -> Option<u16> {
        self.last_number = self.last_number.checked_add(1)?;
        Some(self.last_number)
    }

    /// Modules that were met since this was asked last.
    pub fn new_modules(&mut self) -> Vec<Module> {
        let new = self.modules[self.given..].to_vec();
        self.given = self.modules.len();
        new
    }

    /// All modules, and what could not be read.
    pub fn finish(self) -> (Vec<Module>, Vec<String>) {
        (self.modules, self.warnings)
    }
}
