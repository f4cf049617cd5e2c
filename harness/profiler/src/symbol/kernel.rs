//! Names of kernel addresses, from `/proc/kallsyms`.

use std::{env, fs, path::Path};

use uplift_model::Problem;

/// The kernel's functions, by address.
#[derive(Clone, Debug, Default)]
pub struct KernelSymbols {
    text: String,
    /// Address, and where in `text` the name lies.
    functions: Vec<(u64, std::ops::Range<usize>)>,
}

/// Names a file to read kernel symbols from instead: a copy that somebody with more rights made of `/proc/kallsyms` since
/// the machine was started.
pub const KALLSYMS_VARIABLE: &str = "UPLIFT_KALLSYMS";
/// Where the kernel shows its symbols.
const KALLSYMS: &str = "/proc/kallsyms";
/// What to do where addresses are hidden.
pub const REMEDY: &str = "sysctl kernel.kptr_restrict=0, or run as root";

impl KernelSymbols {
    /// The running kernel's.
    ///
    /// # Errors
    /// A sentence with the fix where the file is missing or hides addresses.
    pub fn read() -> Result<Self, Problem> {
        let path = env::var_os(KALLSYMS_VARIABLE).unwrap_or_else(|| KALLSYMS.into());
        Self::read_from(Path::new(&path))
    }

    /// Those of a file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_from(path: &Path) -> Result<Self, Problem> {
        let name = path.display();
        let nameless = |state: String| Problem::new(state).because("kernel frames have no names").fix(REMEDY);
        let text = fs::read_to_string(path).map_err(|error| nameless(format!("{name} cannot be read ({error})")))?;
        let symbols = Self::parse(text);
        if symbols.functions.is_empty() {
            return Err(nameless(format!("{name} hides addresses")));
        }
        Ok(symbols)
    }

    /// Reads the text of a `kallsyms` file; hidden addresses are left out.
    pub fn parse(text: String) -> Self {
        let base = text.as_ptr() as usize;
        let mut functions: Vec<(u64, std::ops::Range<usize>)> = text
            .lines()
            .filter_map(|line| {
                // ffffffff81000000 T _text   [module]
                let mut fields = line.split_ascii_whitespace();
                let address = u64::from_str_radix(fields.next()?, 16).ok()?;
                let kind = fields.next()?;
                let name = fields.next()?;
                let start = name.as_ptr() as usize - base;
                (address != 0 && matches!(kind, "t" | "T" | "w" | "W")).then_some((address, start..start + name.len()))
            })
            .collect();
        // Several names of one address: the first in the file wins.
        functions.sort_by_key(|(address, _)| *address);
        functions.dedup_by_key(|(address, _)| *address);
        Self { text, functions }
    }

    /// The function that holds the address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        let (_, name) = self.functions.get(after.checked_sub(1)?)?;
        self.text.get(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_below_an_address_names_it() {
        let text = "ffffffff81000100 T vfs_write\nffffffff81000000 T _text\nffffffff81000100 t __alias\n\
                    ffffffff81000180 d some_data\nffffffffc0000000 t ext4_sync_file\t[ext4]\n";
        let symbols = KernelSymbols::parse(text.to_owned());
        assert_eq!(symbols.name(0xffff_ffff_8100_00ff), Some("_text"));
        assert_eq!(symbols.name(0xffff_ffff_8100_01ff), Some("vfs_write"));
        assert_eq!(symbols.name(0xffff_ffff_c000_0010), Some("ext4_sync_file"));
        assert_eq!(symbols.name(0x1000), None);
    }

    #[test]
    fn a_file_that_is_missing_or_hides_addresses_is_named_with_the_remedy() {
        let missing = KernelSymbols::read_from(Path::new("/no/kallsyms")).unwrap_err();
        assert!(missing.what.starts_with("/no/kallsyms cannot be read"), "{missing}");
        assert_eq!(missing.remedy.as_deref(), Some(REMEDY));
        let empty = KernelSymbols::read_from(Path::new("/dev/null")).unwrap_err();
        assert!(empty.to_string().starts_with("/dev/null hides addresses: kernel frames"), "{empty}");
    }

    #[test]
    fn hidden_addresses_are_no_symbols() {
        let symbols = KernelSymbols::parse("0000000000000000 T _text\n0000000000000000 T vfs_write\n".to_owned());
        assert_eq!(symbols.name(u64::MAX), None);
    }
}
