//! What hello-sock must do over each backend, written once: a test program includes it and says
//! which backend it is about.

mod client;
mod echo;
mod load;
mod reactors;
mod stop;
mod unread;
