//! The modules that are linked, and devices made by a line of text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use linkme::distributed_slice;

use crate::{Bdev, BdevError, Bdevs};

/// The modules linked into this program: where [`register!`] puts them.
#[distributed_slice]
pub static LCORE_BDEV_MODULES: [&'static dyn BdevModule];

/// Registers a module at link time, so that [`create`] knows it by its name. The counterpart of
/// `SPDK_BDEV_MODULE_REGISTER`.
///
/// ```
/// use bdev::{Bdev, BdevError, BdevModule, Bdevs, Params};
///
/// struct Mine;
///
/// bdev::register!(Mine);
///
/// impl BdevModule for Mine {
///     fn name(&self) -> &'static str {
///         "mine"
///     }
///
///     fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError> {
/// #       let _ = (bdevs, params);
///         // …
/// #       Err(BdevError::invalid("mine", "it makes none"))
///     }
/// }
///
/// assert!(bdev::module("mine").is_some());
/// ```
///
/// A crate is linked only if something names it (`use bdev_malloc as _;`). With a name, as in
/// `bdev::register!(pub static MINE = Mine)`, a static library can hold it.
#[doc(inline)]
pub use crate::__register_bdev_module as register;

#[doc(hidden)]
#[macro_export]
macro_rules! __register_bdev_module {
    ($($registration:tt)*) => {
        $crate::core_reactor::__register!([$crate::LCORE_BDEV_MODULES] [&'static dyn $crate::BdevModule] $($registration)*);
    };
}

/// What makes devices of a kind: the link-time plug-in.
pub trait BdevModule: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Makes a device and adds it.
    ///
    /// # Errors
    /// A parameter is wrong or missing, or the device cannot be had.
    fn create(&self, bdevs: &Bdevs, params: &Params<'_>) -> Result<Bdev, BdevError>;
}

/// The linked module of this name.
pub fn module(name: &str) -> Option<&'static dyn BdevModule> {
    LCORE_BDEV_MODULES.iter().copied().find(|module| module.name() == name)
}

/// Makes the device that a line asks for: `malloc:name=Malloc0,size=64M`, as command lines have
/// it.
///
/// # Errors
/// No such module is linked; what its [`create`](BdevModule::create) says.
pub fn create(bdevs: &Bdevs, line: &str) -> Result<Bdev, BdevError> {
    let (name, params) = line.split_once(':').unwrap_or((line, ""));
    let Some(module) = module(name) else {
        let mut names: Vec<_> = LCORE_BDEV_MODULES.iter().map(|module| module.name()).collect();
        names.sort_unstable();
        return Err(BdevError::invalid("module", format!("{name:?} is none; linked are {}", names.join(", "))));
    };
    module.create(bdevs, &Params::read(params)?)
}

/// Parameters as text: `name=Malloc0,size=64M`.
///
/// ```
/// use bdev::Params;
///
/// let params = Params::read("name=Disk0,size=64M")?;
/// assert_eq!((params.get("name"), params.number("size")?), (Some("Disk0"), Some(64 << 20)));
/// assert_eq!(params.number("block_size")?, None);
/// # Ok::<(), bdev::BdevError>(())
/// ```
#[derive(Debug)]
pub struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    /// Reads them.
    ///
    /// ```
    /// use bdev::Params;
    ///
    /// assert!(Params::read("name=Disk0,size=64M").is_ok() && Params::read("").is_ok());
    /// assert!(Params::read("name").is_err() && Params::read("size=1,size=2").is_err());
    /// ```
    ///
    /// # Errors
    /// A part is no `key=value`, or a key is there twice.
    pub fn read(text: &'a str) -> Result<Self, BdevError> {
        let mut params = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(BdevError::invalid("parameters", format!("{part:?} is no key=value")));
            };
            if params.iter().any(|(known, _)| *known == key) {
                return Err(BdevError::invalid("parameters", format!("{key} is there twice")));
            }
            params.push((key, value));
        }
        Ok(Self(params))
    }

    /// Refuses what is none of these keys.
    ///
    /// ```
    /// use bdev::Params;
    ///
    /// let params = Params::read("name=Disk0,siez=64M")?;
    /// let why = params.allow(&["name", "size"]).unwrap_err().to_string();
    /// assert!(why.contains("siez"), "{why}");
    /// # Ok::<(), bdev::BdevError>(())
    /// ```
    ///
    /// # Errors
    /// The first that is.
    pub fn allow(&self, known: &[&str]) -> Result<(), BdevError> {
        match self.0.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(BdevError::invalid("parameters", format!("{key:?} is none of {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// A size or number: digits, with K, M, G or T behind them for powers of 1,024.
    ///
    /// ```
    /// use bdev::Params;
    ///
    /// let params = Params::read("size=4k,depth=many")?;
    /// assert_eq!(params.number("size")?, Some(4096));
    /// assert!(params.number("depth").is_err());
    /// # Ok::<(), bdev::BdevError>(())
    /// ```
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, BdevError> {
        self.get(key).map(|text| size(text).ok_or_else(|| wrong(key, text))).transpose()
    }
}

fn wrong(key: &'static str, text: &str) -> BdevError {
    BdevError::invalid(key, format!("{text:?} is no number such as 4096 or 64M"))
}

/// Digits with K, M, G or T behind them.
fn size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(1 << shift)).flatten()
}

impl Bdevs {
    /// The name that was asked for, or a free one: `stem` and a number.
    ///
    /// ```
    /// use bdev::Bdevs;
    ///
    /// let bdevs = Bdevs::new(1);
    /// assert_eq!((bdevs.name_or(Some("Mine"), "Malloc"), bdevs.name_or(None, "Malloc")), ("Mine".into(), "Malloc0".into()));
    /// ```
    pub fn name_or(&self, name: Option<&str>, stem: &str) -> String {
        name.map_or_else(|| self.free_name(stem), String::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_keys_and_values_and_sizes_have_letters() {
        let params = Params::read("name=a=b,size=64M,count=7,").unwrap();
        assert_eq!((params.get("name"), params.number("size"), params.number("count")), (Some("a=b"), Ok(Some(64 << 20)), Ok(Some(7))));
        assert_eq!(params.number("none"), Ok(None));
        assert!(params.allow(&["name", "size"]).is_err() && params.allow(&["count", "name", "size"]).is_ok());
        for wrong in ["name", "a=1,a=2"] {
            assert!(Params::read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["size=", "size=M", "size=-1", "size=+1", "size=1e3", "size=99999999999T", "size=1ü"] {
            assert!(Params::read(wrong).unwrap().number("size").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_module_that_is_not_linked_is_named() {
        let why = create(&Bdevs::new(0), "floppy:size=1M").unwrap_err();
        assert!(alloc::string::ToString::to_string(&why).contains("\"floppy\" is none"));
    }
}
