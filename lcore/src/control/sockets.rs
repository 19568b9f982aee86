//! The methods that concern sockets.

use core_reactor::net::SockOptions;
use linkme::distributed_slice;
use rpc::{Error, LCORE_RPC_METHODS, Method, NoParams, Phases};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{AppHandle, net_backends};

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_DEFAULT: Method = Method::new("sock_get_default_impl", "The network backend that is used", |_, call| {
    let app = call.control().service::<AppHandle>();
    call.answer(|NoParams| Ok(Impl { impl_name: backend(&*app?)?.to_owned() }));
})
.phases(Phases::Any);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Impl {
    impl_name: String,
}

fn backend(app: &AppHandle) -> Result<&'static str, Error> {
    if app.has_net() { Ok(app.net().name()) } else { Err(Error::internal("this application has no network")) }
}

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_OPTIONS: Method =
    Method::new("sock_impl_get_options", "What sockets of a backend are like where an application says nothing else", |_, call| {
        call.answer(|of: Impl| Options::of(&of.impl_name));
    })
    .phases(Phases::Any);

/// The options that SPDK has. Those that lcore has not, are off.
#[derive(Serialize)]
struct Options {
    recv_buf_size: usize,
    send_buf_size: usize,
    enable_recv_pipe: bool,
    enable_quickack: bool,
    enable_placement_id: u32,
    enable_zerocopy_send_server: bool,
    enable_zerocopy_send_client: bool,
    zerocopy_threshold: usize,
    tls_version: u32,
    enable_ktls: bool,
}

impl Options {
    fn of(backend: &str) -> Result<Self, Error> {
        if !net_backends().contains(&backend) {
            let linked = net_backends().join(", ");
            return Err(Error::params(format!("Invalid parameters: impl_name: no backend {backend:?} is linked; there are {linked}")));
        }
        let SockOptions { recv_buf, send_buf, quick_ack, zero_copy, .. } = SockOptions::default();
        Ok(Self {
            // 0: what the system gives.
            recv_buf_size: recv_buf.unwrap_or(0),
            send_buf_size: send_buf.unwrap_or(0),
            enable_recv_pipe: false,
            enable_quickack: quick_ack,
            enable_placement_id: 0,
            enable_zerocopy_send_server: zero_copy.is_some(),
            enable_zerocopy_send_client: zero_copy.is_some(),
            zerocopy_threshold: zero_copy.unwrap_or(0),
            tls_version: 0,
            enable_ktls: false,
        })
    }
}

#[distributed_slice(LCORE_RPC_METHODS)]
static SET_DEFAULT: Method = Method::new("sock_set_default_impl", "Uses this network backend", |_, call| {
    let app = call.control().service::<AppHandle>();
    call.answer(|of: Impl| {
        let app = app?;
        backend(&app)?;
        app.said().set_net(&app, &of.impl_name).map_err(|why| Error::params(format!("Invalid parameters: impl_name: {why}")))?;
        Ok(true)
    });
})
.phases(Phases::Startup);

#[distributed_slice(LCORE_RPC_METHODS)]
static SET_OPTIONS: Method =
    Method::new("sock_impl_set_options", "Takes what sock_impl_get_options tells, and refuses whatever is otherwise", |_, call| {
        call.answer(|of: SetOptions| of.check());
    })
    .phases(Phases::Startup);

/// Options of a backend, which are what they are: an application says for each socket what it is to
/// be like.
#[derive(Deserialize)]
struct SetOptions {
    impl_name: String,
    #[serde(flatten)]
    options: Map<String, Value>,
}

impl SetOptions {
    fn check(&self) -> Result<bool, Error> {
        let wrong = |why: String| Err(Error::params(format!("Invalid parameters: {why}")));
        let are = json!(Options::of(&self.impl_name)?);
        for (name, wanted) in &self.options {
            match are.get(name) {
                None => return wrong(format!("unknown field `{name}`")),
                Some(is) if is != wanted => return wrong(format!("{name}: it is {is} and cannot be changed for all sockets")),
                Some(_) => {}
            }
        }
        Ok(true)
    }
}

/// The calls that would choose the backend again.
pub(super) fn calls(app: &AppHandle) -> Vec<Value> {
    let options = |name| {
        let mut params = json!(Options::of(name).ok()?);
        params["impl_name"] = name.into();
        Some(json!({"method": "sock_impl_set_options", "params": params}))
    };
    let chosen = json!({"method": "sock_set_default_impl", "params": {"impl_name": app.net().name()}});
    [chosen].into_iter().chain(net_backends().into_iter().filter_map(options)).collect()
}

/// The backend that a call sets up, if it is not linked.
pub(crate) fn foreign_backend(method: &Method, params: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Of {
        impl_name: String,
    }
    let Of { impl_name } = (method.name == SET_OPTIONS.name).then(|| serde_json::from_str(params).ok())??;
    (!net_backends().contains(&&*impl_name)).then_some(impl_name)
}
