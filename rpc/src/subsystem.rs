//! What a program is made of, as far as it can be set up: `framework_get_subsystems`.

use std::fmt;

use linkme::distributed_slice;
use serde_json::Value;

use crate::{Control, Error};

/// The parts that are linked beside those which every application has: where
/// [`register_subsystem!`] puts them.
#[distributed_slice]
pub static LCORE_RPC_SUBSYSTEMS: [Subsystem];

/// Registers a [`Subsystem`] at link time, beside its methods:
///
/// ```
/// use rpc::Subsystem;
///
/// rpc::register_subsystem!(Subsystem::new("example", &["bdev"], |_| Ok(Vec::new())));
///
/// assert!(Subsystem::linked().iter().any(|part| part.name == "example"));
/// ```
#[doc(inline)]
pub use crate::__register_subsystem as register_subsystem;

#[doc(hidden)]
#[macro_export]
macro_rules! __register_subsystem {
    ($subsystem:expr) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::LCORE_RPC_SUBSYSTEMS)]
            #[linkme(crate = $crate::linkme)]
            static __LCORE_SUBSYSTEM: $crate::Subsystem = $subsystem;
        };
    };
}

/// A part that can be set up (`SPDK_SUBSYSTEM_REGISTER`).
pub struct Subsystem {
    /// Its name, as configurations have it.
    pub name: &'static str,
    /// Those that come before it.
    pub depends_on: &'static [&'static str],
    /// Methods that SPDK's configurations have here, and that are about modules which are not: a
    /// file may name them, and they are passed over.
    pub of_others: &'static [&'static str],
    config: fn(&Control) -> Result<Vec<Value>, Error>,
}

impl Subsystem {
    /// A part of this name. `config` tells the calls that would set it up as it is, each made by
    /// [`call`](Self::call).
    pub const fn new(name: &'static str, depends_on: &'static [&'static str], config: fn(&Control) -> Result<Vec<Value>, Error>) -> Self {
        Self { name, depends_on, of_others: &[], config }
    }

    /// The same with these methods of modules that are not here.
    #[must_use]
    pub const fn of_others(mut self, methods: &'static [&'static str]) -> Self {
        self.of_others = methods;
        self
    }

    /// A call as a configuration has it.
    pub fn call(method: &str, params: Value) -> Value {
        serde_json::json!({"method": method, "params": params})
    }

    /// The calls that would set it up as it is.
    ///
    /// # Errors
    /// What the part says.
    pub fn config(&self, control: &Control) -> Result<Vec<Value>, Error> {
        (self.config)(control)
    }

    /// Those that are linked: each behind those that it depends on, and else by names.
    pub fn linked() -> Vec<&'static Self> {
        in_order(LCORE_RPC_SUBSYSTEMS.iter().collect())
    }
}

/// Puts each behind those that it depends on, as far as they are there and in no circle.
fn in_order(mut left: Vec<&Subsystem>) -> Vec<&Subsystem> {
    left.sort_unstable_by_key(|subsystem| subsystem.name);
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |subsystem: &&Subsystem| left.iter().any(|other| subsystem.depends_on.contains(&other.name));
        let at = left.iter().position(|subsystem| !waits(subsystem)).unwrap_or(0);
        ordered.push(left.remove(at));
    }
    ordered
}

impl fmt::Debug for Subsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subsystem").field("name", &self.name).field("depends_on", &self.depends_on).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_behind_those_it_depends_on() {
        let part = |name, depends_on| Subsystem::new(name, depends_on, |_| Ok(Vec::new()));
        let parts = [part("a", &["c", "sock"]), part("b", &["a"]), part("c", &[]), part("d", &["d"])];
        let names: Vec<_> = in_order(parts.iter().rev().collect()).iter().map(|part| part.name).collect();
        assert_eq!(names, ["c", "a", "b", "d"]);
    }
}
