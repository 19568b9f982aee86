//! The convention for what is configured: a struct that others cannot write down, so that it can
//! grow, with defaults (or a `new` that takes what has none), fields to be read, and for each a
//! setter of its name.

/// The setters of these fields. One of a field that may be left open takes the value, too, and
/// `None`.
macro_rules! setters {
    () => {};
    ($field:ident: Option<$type:ty>, $($rest:tt)*) => {
        #[doc = concat!("The same with this [`", stringify!($field), "`](field@Self::", stringify!($field), "), or `None`.")]
        #[must_use]
        pub fn $field(mut self, $field: impl Into<Option<$type>>) -> Self {
            self.$field = $field.into();
            self
        }
        $crate::setters::setters!($($rest)*);
    };
    ($field:ident: $type:ty, $($rest:tt)*) => {
        #[doc = concat!("The same with this [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
        $crate::setters::setters!($($rest)*);
    };
}

pub(crate) use setters;
