//! Names of user addresses, with the functions that the compiler inlined there.

use std::{collections::HashMap, fs, path::PathBuf};

use addr2line::Loader;
use object::{Object as _, ObjectSymbol as _, SymbolKind};

use super::swift;
use crate::maps::Module;

/// Where separate debug information lies by build id (Debian's `*-dbg` packages, and others).
const DEBUG_FOLDER: &str = "/usr/lib/debug/.build-id";

/// One function at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name as people write it, without the compiler's hash.
    pub name: String,
    /// Whether its body was inlined into the next one.
    pub inlined: bool,
    /// Whether a name was found; else `name` is the module's.
    pub named: bool,
}

/// Names of the functions of some modules. Answers are remembered.
pub struct UserSymbols {
    modules: Vec<(Module, Option<Tables>)>,
    known: HashMap<u64, Vec<Function>>,
    /// Names of code that lies in no file.
    generated: HashMap<u64, String>,
}

struct Tables {
    /// Line and inline information; of the module or of its separate debug file.
    debug: Option<Loader>,
    /// Start, length, name; by start.
    symbols: Vec<(u64, u64, String)>,
}

impl UserSymbols {
    /// For these modules.
    pub fn new(modules: Vec<Module>) -> Self {
        Self {
            modules: modules.into_iter().map(|module| (module, None)).collect(),
            known: HashMap::new(),
            generated: HashMap::new(),
        }
    }

    /// The same with names of code that lies in no file, by address; of a return address that of the byte behind it too.
    pub fn with_generated(self, generated: HashMap<u64, String>) -> Self {
        Self { generated, ..self }
    }

    /// The functions at `address`, innermost first; never empty. Of a return address give the byte before.
    pub fn functions(&mut self, address: u64) -> &[Function] {
        if !self.known.contains_key(&address) {
            let found = self.look_up(address);
            self.known.insert(address, found);
        }
        &self.known[&address]
    }

    fn look_up(&mut self, address: u64) -> Vec<Function> {
        let unnamed = |name: String| vec![Function { name, inlined: false, named: false }];
        if let Some(name) = self.generated.get(&address).or_else(|| self.generated.get(&address.wrapping_add(1))) {
            return vec![Function { name: name.clone(), inlined: false, named: true }];
        }
        let Some((module, tables)) = self.modules.iter_mut().find(|(module, _)| module.range.contains(&address)) else {
            return unnamed("[unknown]".to_owned());
        };
        let probe = address.wrapping_sub(module.bias);
        let tables = tables.get_or_insert_with(|| Tables::load(module));
        let mut functions = tables.inlines(probe);
        if functions.is_empty()
            && let Some(name) = tables.symbol(probe)
        {
            functions.push(Function { name: demangled(name), inlined: false, named: true });
        }
        if functions.is_empty() {
            let file = module.name.rsplit('/').next().unwrap_or(&module.name);
            return unnamed(format!("[{}]", file.trim_matches(['[', ']'])));
        }
        functions
    }
}

impl Tables {
    fn load(module: &Module) -> Self {
        let separate = separate_debug_file(module);
        let own = own_symbols(&module.image);
        let symbols = match &separate {
            // A stripped library has its exported names only; the debug file has all.
            Some(path) => fs::read(path).map(|bytes| own_symbols(&bytes)).unwrap_or_default(),
            None => Vec::new(),
        };
        let path = separate.as_ref().or(module.path.as_ref());
        Self {
            debug: path.and_then(|path| Loader::new(path).ok()),
            symbols: if symbols.len() > own.len() { symbols } else { own },
        }
    }

    fn inlines(&self, probe: u64) -> Vec<Function> {
        let mut functions = Vec::new();
        let Some(Ok(mut frames)) = self.debug.as_ref().map(|debug| debug.find_frames(probe)) else { return functions };
        while let Ok(Some(frame)) = frames.next() {
            let Some(name) = frame.function else { continue };
            let Ok(raw) = name.raw_name() else { continue };
            functions.push(Function { name: demangled(&raw), inlined: true, named: true });
        }
        if let Some(outermost) = functions.last_mut() {
            outermost.inlined = false;
            // Line tables name a function of C by its plain name; the symbol of a Rust function says its path too.
            if let Some(symbol) = self.symbol(probe) {
                outermost.name = demangled(symbol);
            }
        }
        functions
    }

    fn symbol(&self, probe: u64) -> Option<&str> {
        let after = self.symbols.partition_point(|(start, ..)| *start <= probe);
        let (start, length, name) = self.symbols.get(after.checked_sub(1)?)?;
        // A symbol without a length (assembly) ends where the next begins.
        (*length == 0 || probe < start + length).then_some(name)
    }
}

fn own_symbols(image: &[u8]) -> Vec<(u64, u64, String)> {
    let Ok(object) = object::File::parse(image) else { return Vec::new() };
    let mut symbols: Vec<(u64, u64, String)> = object
        .symbols()
        .chain(object.dynamic_symbols())
        .filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned())))
        .collect();
    // Of several names for one address the longest extent, then the fewest leading underscores.
    let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
    symbols.sort_by(|a, b| {
        (a.0, u64::MAX - a.1, underscores(&a.2), &a.2).cmp(&(b.0, u64::MAX - b.1, underscores(&b.2), &b.2))
    });
    symbols.dedup_by_key(|(start, ..)| *start);
    symbols
}

fn separate_debug_file(module: &Module) -> Option<PathBuf> {
    let object = object::File::parse(&**module.image).ok()?;
    let id = object.build_id().ok()??;
    let (first, rest) = id.split_first()?;
    let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = PathBuf::from(format!("{DEBUG_FOLDER}/{first:02x}/{hex}.debug"));
    path.is_file().then_some(path)
}

/// A name as people write it: Rust without hash, C++, Go and Swift without escapes, or as it is.
pub fn demangled(raw: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(raw) {
        return format!("{rust:#}");
    }
    if raw.starts_with("_Z")
        && let Some(name) = cpp_demangle::Symbol::new(raw).ok().and_then(|symbol| symbol.demangle().ok())
    {
        return name;
    }
    if let Some(name) = swift::demangled(raw) {
        return name;
    }
    // The linker writes versions behind the name.
    let name = raw.split('@').next().unwrap_or(raw);
    if name.contains("%2e") {
        // Go escapes dots of the last part of a package's path.
        return name.replace("%2e", ".");
    }
    // The C library's own name for what it also exports.
    name.strip_prefix("__GI_").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_people_write() {
        assert_eq!(demangled("_ZN3foo3bar17h0123456789abcdefE"), "foo::bar");
        assert_eq!(demangled("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(demangled("_ZN7rocksdb6DBImpl5WriteEv"), "rocksdb::DBImpl::Write()");
        assert_eq!(demangled("memcpy@@GLIBC_2.14"), "memcpy");
        assert_eq!(demangled("__GI___libc_write"), "__libc_write");
        assert_eq!(demangled("sqlite3_step"), "sqlite3_step");
        assert_eq!(demangled("gopkg.in/yaml%2ev3.(*Decoder).Decode"), "gopkg.in/yaml.v3.(*Decoder).Decode");
        assert_eq!(demangled("main.Map[go.shape.int]"), "main.Map[go.shape.int]");
        assert_eq!(demangled("$s4work7seventyyS2iF"), "work.seventy");
    }

    #[inline(never)]
    fn outer(value: u64) -> u64 {
        std::hint::black_box(value) + 1
    }

    #[test]
    fn a_function_of_this_binary_is_named_by_its_path() {
        let (modules, _) = crate::maps::modules().unwrap();
        let mut symbols = UserSymbols::new(modules);
        let functions = symbols.functions(outer as fn(u64) -> u64 as usize as u64).to_vec();
        let name = &functions.last().unwrap().name;
        assert!(name.starts_with("uplift_profiler::symbol::user::tests::outer"), "{functions:?}");
        assert!(functions.iter().all(|function| function.named));
    }

    #[test]
    fn an_address_outside_all_modules_is_unknown() {
        let mut symbols = UserSymbols::new(Vec::new());
        assert_eq!(symbols.functions(0x1234)[0].name, "[unknown]");
        assert!(!symbols.functions(0x1234)[0].named);
    }
}
