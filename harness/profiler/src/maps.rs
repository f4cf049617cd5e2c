//! Where the code of a process lies: the executable mappings of `/proc/PID/maps`, and the modules of this process.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use object::{Object as _, ObjectSection as _, ObjectSegment as _, SegmentFlags};

/// The name under which the kernel maps its own user code.
pub const VDSO: &str = "[vdso]";

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its addresses.
    pub range: Range<u64>,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file, or a name in brackets.
    pub name: String,
}

/// A file whose code is mapped: its bytes, and where it lies.
#[derive(Clone)]
pub struct Module {
    /// The file, or [`VDSO`].
    pub name: String,
    /// What to open for its symbols; `None` for the vdso.
    pub path: Option<PathBuf>,
    /// Addresses of its code.
    pub range: Range<u64>,
    /// What to subtract from an address to get the file's own.
    pub bias: u64,
    /// Its bytes.
    pub image: Arc<Image>,
}

/// The bytes of a module.
pub enum Image {
    /// A mapped file.
    File(Mmap),
    /// A copy of memory.
    Memory(Vec<u8>),
}

impl std::ops::Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::File(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

impl Module {
    /// The bytes of a section and its addresses in the file; `None` where there is none.
    pub fn section(&self, name: &str) -> Option<(Vec<u8>, Range<u64>)> {
        let object = object::File::parse(&**self.image).ok()?;
        let section = object.section_by_name(name)?;
        let bytes = section.uncompressed_data().ok()?.into_owned();
        Some((bytes, section.address()..section.address() + section.size()))
    }

    /// The addresses of a section in the file.
    pub fn section_range(&self, name: &str) -> Option<Range<u64>> {
        let object = object::File::parse(&**self.image).ok()?;
        let section = object.section_by_name(name)?;
        Some(section.address()..section.address() + section.size())
    }
}

/// Reads the text of a `maps` file: its executable mappings.
pub fn parse(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_line).collect()
}

// 7f2c…000-7f2c…000 r-xp 00028000 fe:00 1234   /usr/lib/x86_64-linux-gnu/libc.so.6
fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let trimmed = rest.trim_start();
        let (field, tail) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        rest = tail;
        field
    };
    let (start, end) = field().split_once('-')?;
    let permissions = field();
    let offset = u64::from_str_radix(field(), 16).ok()?;
    let (_device, _inode) = (field(), field());
    let name = rest.trim().trim_end_matches(" (deleted)").to_owned();
    if !permissions.contains('x') || name.is_empty() {
        return None;
    }
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    Some(Mapping { range, offset, name })
}

/// The modules of this process, and one sentence for each that cannot be read.
///
/// # Errors
/// Where `/proc/self/maps` cannot be read.
pub fn modules() -> io::Result<(Vec<Module>, Vec<String>)> {
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    let own = own.to_string_lossy();
    let own = own.trim_end_matches(" (deleted)");
    let (mut modules, mut warnings) = (Vec::new(), Vec::new());
    for mapping in parse(&fs::read_to_string("/proc/self/maps")?) {
        let path = match mapping.name.as_str() {
            VDSO => None,
            name if name.starts_with('[') => continue,
            // The link and not the path: the file may have been replaced since this process was started.
            name if name == own => Some(PathBuf::from("/proc/self/exe")),
            name => Some(PathBuf::from(name)),
        };
        let image = match &path {
            Some(path) => open(path),
            None => Ok(vdso(&mapping.range)),
        };
        let loaded = image.map_err(|error| error.to_string()).and_then(|image| {
            let object = object::File::parse(&*image).map_err(|error| error.to_string())?;
            let bias = bias(&object, &mapping).ok_or("no segment of it is mapped here")?;
            Ok((bias, image))
        });
        match loaded {
            Ok((bias, image)) => {
                modules.push(Module { name: mapping.name, path, range: mapping.range, bias, image: Arc::new(image) });
            }
            Err(message) => warnings.push(format!("the code of `{}` has no names: {message}", mapping.name)),
        }
    }
    modules.sort_by_key(|module| module.range.start);
    Ok((modules, warnings))
}

/// Maps a file.
///
/// # Errors
/// What the system said.
pub fn open(path: &Path) -> io::Result<Image> {
    let file = fs::File::open(path)?;
    // SAFETY: the file is code that a process runs; who truncates it kills that process with or without this map.
    Ok(Image::File(unsafe { Mmap::map(&file)? }))
}

/// The vdso, which is the same in every process; `None` where this one has none.
pub fn own_vdso() -> Option<Image> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    parse(&maps).into_iter().find(|mapping| mapping.name == VDSO).map(|mapping| vdso(&mapping.range))
}

fn vdso(range: &Range<u64>) -> Image {
    let bytes = (range.end - range.start) as usize;
    // SAFETY: the kernel maps the vdso readable for the whole life of the process.
    Image::Memory(unsafe { std::slice::from_raw_parts(range.start as *const u8, bytes) }.to_vec())
}

/// Address in memory minus address in the file.
pub fn bias(object: &object::File<'_>, mapping: &Mapping) -> Option<u64> {
    object.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        // Segments are mapped by whole pages: the mapping may begin before the segment does.
        let holds =
            mapping.offset < offset + size && offset < mapping.offset + (mapping.range.end - mapping.range.start);
        // The page before the code may belong to another segment, with another bias.
        let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        let aligned = segment.address().wrapping_sub(offset).wrapping_add(mapping.offset);
        (holds && executable && size > 0).then(|| mapping.range.start.wrapping_sub(aligned))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_are_read() {
        let text = "\
55d0c0a00000-55d0c0a10000 r--p 00000000 fe:00 42    /opt/a b/uplift\n\
55d0c0a10000-55d0c0b10000 r-xp 00010000 fe:00 42    /opt/a b/uplift (deleted)\n\
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0     [vdso]\n\
7ffd10000000-7ffd10002000 rwxp 00000000 00:00 0 \n";
        let mappings = parse(text);
        assert_eq!(mappings.len(), 2);
        assert_eq!(mappings[0].name, "/opt/a b/uplift");
        assert_eq!((mappings[0].range.start, mappings[0].offset), (0x55d0_c0a1_0000, 0x10000));
        assert_eq!(mappings[1].name, VDSO);
    }

    #[test]
    fn this_very_test_is_in_a_module() {
        let (modules, warnings) = modules().unwrap();
        let here = this_very_test_is_in_a_module as fn() as usize as u64;
        let module = modules.iter().find(|module| module.range.contains(&here)).expect("code lies in a module");
        assert_eq!(module.path.as_deref(), Some(Path::new("/proc/self/exe")), "{warnings:?}");
        let (_, text) = module.section(".text").unwrap();
        assert!(text.contains(&(here - module.bias)), "{here:x} {text:x?} {:x}", module.bias);
    }
}
