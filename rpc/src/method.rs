//! What can be called, and where it registers.

use std::fmt;

use core_reactor::Cx;
use linkme::distributed_slice;

use crate::Call;

/// The methods that are linked: where [`register!`] puts them.
#[distributed_slice]
pub static LCORE_RPC_METHODS: [Method];

/// Registers a [`Method`] at link time, beside what it controls:
///
/// ```
/// use rpc::Method;
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Sum {
///     of: Vec<u32>,
/// }
///
/// rpc::register!(Method::new("example_sum", "Adds numbers up", |_, call| {
///     call.answer(|sum: Sum| Ok(sum.of.iter().sum::<u32>()));
/// }));
///
/// assert_eq!(rpc::Methods::linked()?.get("example_sum").map(|method| method.help), Some("Adds numbers up"));
/// # Ok::<(), rpc::DuplicateName>(())
/// ```
///
/// One that the program itself calls has a name: `rpc::register!(static SUM = Method::new(…))`. A
/// crate is linked only if something names it (`use my_methods as _;`).
#[doc(inline)]
pub use crate::__register_method as register;

#[doc(hidden)]
#[macro_export]
macro_rules! __register_method {
    ($(#[$attribute:meta])* $visible:vis static $name:ident = $method:expr) => {
        $(#[$attribute])*
        #[$crate::linkme::distributed_slice($crate::LCORE_RPC_METHODS)]
        #[linkme(crate = $crate::linkme)]
        $visible static $name: $crate::Method = $method;
    };
    ($method:expr) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::LCORE_RPC_METHODS)]
            #[linkme(crate = $crate::linkme)]
            static __LCORE_METHOD: $crate::Method = $method;
        };
    };
}

/// Something that a client can call (`SPDK_RPC_REGISTER`).
pub struct Method {
    /// Its name on the wire: what it concerns, what it does there, joined by `_`.
    pub name: &'static str,
    /// A line that says what it does.
    pub help: &'static str,
    /// Other names that do the same, for clients of an older version.
    pub aliases: &'static [&'static str],
    /// When it can be called.
    pub phases: Phases,
    run: fn(&mut Cx<'_>, Call),
}

/// When a method can be called: before the application has started, after, or always.
///
/// ```
/// use rpc::Phases;
///
/// assert!(Phases::Startup.allow(false) && !Phases::Startup.allow(true));
/// assert!(Phases::Any.allow(false) && Phases::Any.allow(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// While the application waits for `framework_start_init`.
    Startup,
    /// When it runs.
    Running,
    /// In both.
    Any,
}

impl Phases {
    /// Whether it can be called now.
    pub fn allow(self, running: bool) -> bool {
        match self {
            Self::Startup => !running,
            Self::Running => running,
            Self::Any => true,
        }
    }
}

impl Method {
    /// A method that can be called when the application runs. `run` is called on the thread that
    /// serves and must not hold it up; what takes long answers later.
    pub const fn new(name: &'static str, help: &'static str, run: fn(&mut Cx<'_>, Call)) -> Self {
        Self { name, help, aliases: &[], phases: Phases::Running, run }
    }

    /// The same in other phases.
    ///
    /// ```
    /// use rpc::{Method, NoParams, Phases};
    ///
    /// const EARLY: Method = Method::new("app_set_up", "Sets it up", |_cx, call| call.answer(|_: NoParams| Ok(true))).phases(Phases::Startup);
    ///
    /// assert!(EARLY.phases.allow(false) && !EARLY.phases.allow(true));
    /// ```
    #[must_use]
    pub const fn phases(mut self, phases: Phases) -> Self {
        self.phases = phases;
        self
    }

    /// The same under these names too.
    ///
    /// ```
    /// use rpc::{Method, NoParams, Phases};
    ///
    /// const PING: Method = Method::new("app_ping", "Answers", |_cx, call| {
    ///     call.answer(|_: NoParams| Ok(true));
    /// })
    /// .aliases(&["ping"])
    /// .phases(Phases::Any);
    ///
    /// assert_eq!((PING.aliases, PING.phases), (&["ping"][..], Phases::Any));
    /// ```
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) fn run(&self, cx: &mut Cx<'_>, call: Call) {
        (self.run)(cx, call);
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("name", &self.name).field("phases", &self.phases).finish_non_exhaustive()
    }
}

/// Two methods of one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two linked methods are called {0:?}: leave one of them out of the program, or name it otherwise")]
pub struct DuplicateName(pub &'static str);

/// Methods by their names.
pub struct Methods {
    /// In order of names, aliases among them.
    by_name: Vec<(&'static str, &'static Method)>,
}

impl Methods {
    /// Those that are linked.
    ///
    /// ```
    /// let methods = rpc::Methods::linked()?;
    /// assert!(methods.get("no_such_method").is_none());
    /// assert!(methods.iter().all(|(_, method)| !method.help.is_empty()));
    /// # Ok::<(), rpc::DuplicateName>(())
    /// ```
    ///
    /// # Errors
    /// Two have one name.
    pub fn linked() -> Result<Self, DuplicateName> {
        Self::of(&LCORE_RPC_METHODS)
    }

    fn of(methods: &'static [Method]) -> Result<Self, DuplicateName> {
        let names = |method: &'static Method| [method.name].into_iter().chain(method.aliases.iter().copied());
        let mut by_name: Vec<_> = methods.iter().flat_map(|method| names(method).map(move |name| (name, method))).collect();
        by_name.sort_unstable_by_key(|(name, _)| *name);
        match by_name.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twice) => Err(DuplicateName(twice[0].0)),
            None => Ok(Self { by_name }),
        }
    }

    /// The one of that name or alias.
    pub fn get(&self, name: &str) -> Option<&'static Method> {
        let at = self.by_name.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(self.by_name[at].1)
    }

    /// All in order of names, each once for each of its names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static Method)> + '_ {
        self.by_name.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GOOD: [Method; 2] =
        [Method::new("b", "", |_, _| {}).aliases(&["c", "a"]), Method::new("d", "", |_, _| {}).phases(Phases::Startup)];
    static TWICE: [Method; 2] = [Method::new("b", "", |_, _| {}).aliases(&["c"]), Method::new("c", "", |_, _| {})];

    #[test]
    fn methods_are_found_by_name_and_alias() {
        let methods = Methods::of(&GOOD).unwrap();
        let found = ["a", "b", "c", "d", "e", ""].map(|name| methods.get(name).map(|method| method.name));
        assert_eq!(found, [Some("b"), Some("b"), Some("b"), Some("d"), None, None]);
        assert_eq!(methods.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_name_that_two_have_is_an_error_that_says_it() {
        let why = Methods::of(&TWICE).err().unwrap();
        assert!(why.to_string().contains("\"c\""), "{why}");
    }

    #[test]
    fn phases_allow_what_they_say() {
        let allowed = |phases: Phases| (phases.allow(false), phases.allow(true));
        assert_eq!([Phases::Startup, Phases::Running, Phases::Any].map(allowed), [(true, false), (false, true), (true, true)]);
    }
}
