//! No code: what the pages of the book name is looked up here, and their examples run.
//!
//! The modules are the tables of docs/from-spdk and docs/from-tokio.md, and the names in other
//! pages, with a link at each name of ours, so that one that is not there is an error of the
//! documentation's build. The examples of the chapters are documentation tests of this crate.
#![forbid(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

/// What stands for each function of SPDK's headers, and for what tokio has; what other pages name.
#[allow(unused_imports, reason = "the documentation names what they bring")]
pub mod pages {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

pub mod tables;

/// Runs the examples of a chapter.
macro_rules! chapter {
    ($($name:ident $page:literal)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../docs/", $page))]
        struct $name;
    )*};
}

chapter! {
    Async "async.md"
    Config "config.md"
    Embedding "embedding.md"
    FromTokio "from-tokio.md"
    Logging "logging.md"
    Metrics "metrics.md"
    Rpc "rpc.md"
    Testing "testing.md"
    Tutorial "tutorial.md"
}
