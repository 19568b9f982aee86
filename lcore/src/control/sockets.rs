//! The methods that concern sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use core_reactor::net::{NetError, NetImpl, SockOptions};
use rpc::{Error, Method, NoParams, Params, Phases};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tuned::Tuned;
use crate::{AppHandle, linked};

rpc::register!(
    Method::new("sock_get_default_impl", "The network backend that is used", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|NoParams| Ok(Impl { impl_name: backend(&*app?)?.to_owned() }));
    })
    .phases(Phases::Any)
);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Impl {
    impl_name: String,
}

fn backend(app: &AppHandle) -> Result<&'static str, Error> {
    if app.has_net() { Ok(app.net().name()) } else { Err(Error::internal("this application has no network")) }
}

/// The linked backends, and the application's own.
fn backends(app: &AppHandle) -> Vec<&'static dyn NetImpl> {
    let mut all = linked::net();
    let own = app.has_net().then(|| app.net());
    all.extend(own.filter(|own| all.iter().all(|other| other.name() != own.name())));
    all
}

fn find(app: &AppHandle, name: &str) -> Result<&'static dyn NetImpl, Error> {
    let all = backends(app);
    all.iter().find(|backend| backend.name() == name).copied().ok_or_else(|| {
        let linked = all.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(", ");
        Error::params(format!("Invalid parameters: impl_name: no backend {name:?} is linked; there are {linked}"))
    })
}

rpc::register!(
    Method::new("sock_impl_get_options", "What sockets of a backend are like where an application says nothing else", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|of: Impl| {
            let app = app?;
            Ok(Told::of(&app.said().options(find(&app, &of.impl_name)?.name())))
        });
    })
    .phases(Phases::Any)
);

/// What sockets of a backend are to be like where an application leaves it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImplOptions {
    recv_buf: Option<usize>,
    send_buf: Option<usize>,
    quick_ack: bool,
    /// Sockets that were accepted, and those that connect, send without a copy.
    server_lends: bool,
    client_lends: bool,
    /// From so many bytes on.
    lends_from: usize,
}

impl ImplOptions {
    fn sock_options(&self, lends: bool) -> SockOptions {
        SockOptions::default()
            .recv_buf(self.recv_buf)
            .send_buf(self.send_buf)
            .quick_ack(self.quick_ack)
            .zero_copy(lends.then_some(self.lends_from))
    }

    /// The backend with these.
    pub(super) fn tune(&self, backend: &'static dyn NetImpl) -> &'static dyn NetImpl {
        Tuned::new(backend, self.sock_options(self.server_lends), self.sock_options(self.client_lends))
    }
}

/// The options by the names that SPDK has for them. Those that lcore has not, are off.
#[derive(Serialize)]
struct Told {
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

impl Told {
    fn of(options: &ImplOptions) -> Self {
        Self {
            // 0: what the system gives.
            recv_buf_size: options.recv_buf.unwrap_or(0),
            send_buf_size: options.send_buf.unwrap_or(0),
            enable_recv_pipe: false,
            enable_quickack: options.quick_ack,
            enable_placement_id: 0,
            enable_zerocopy_send_server: options.server_lends,
            enable_zerocopy_send_client: options.client_lends,
            zerocopy_threshold: options.lends_from,
            tls_version: 0,
            enable_ktls: false,
        }
    }
}

rpc::register!(
    Method::new("sock_set_default_impl", "Uses this network backend", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|of: Impl| {
            let app = app?;
            backend(&app)?;
            app.said().set_net(&app, &of.impl_name).map_err(|why| Error::params(format!("Invalid parameters: impl_name: {why}")))?;
            Ok(true)
        });
    })
    .phases(Phases::Startup)
);

rpc::register!(
    static SET_OPTIONS =
        Method::new("sock_impl_set_options", "What a backend's sockets are to be like where an application says nothing else", |_, call| {
            let app = call.control().service::<AppHandle>();
            call.answer(|of: SetOptions| {
                let app = app?;
                let backend = find(&app, &of.impl_name)?;
                let options = of.over(backend, app.said().options(backend.name()))?;
                app.said().set_options(backend.name(), options);
                Ok(true)
            });
        })
        .phases(Phases::Startup)
);

/// Options of a backend; those that are not given stay as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetOptions {
    impl_name: String,
    recv_buf_size: Option<usize>,
    send_buf_size: Option<usize>,
    enable_recv_pipe: Option<bool>,
    enable_quickack: Option<bool>,
    enable_placement_id: Option<u32>,
    enable_zerocopy_send_server: Option<bool>,
    enable_zerocopy_send_client: Option<bool>,
    zerocopy_threshold: Option<usize>,
    tls_version: Option<u32>,
    enable_ktls: Option<bool>,
}

impl SetOptions {
    /// `before` with what is given, as far as the backend has it. Sockets without TLS where it was
    /// asked for would be something else than was meant; what only makes SPDK's sockets quicker is
    /// left out with a warning.
    fn over(&self, backend: &'static dyn NetImpl, before: ImplOptions) -> Result<ImplOptions, Error> {
        let refuse = |why: &str| Err(Error::params(format!("Invalid parameters: {why}")));
        if self.tls_version.is_some_and(|version| version != 0) {
            return refuse("tls_version: there is no TLS here; 0 is what there is");
        }
        if self.enable_ktls == Some(true) {
            return refuse("enable_ktls: there is no TLS here");
        }
        let without =
            |option: &str, why: &str| log::warn!("sock_impl_set_options of {}: {option} is without effect: {why}", backend.name());
        if self.enable_recv_pipe == Some(true) {
            without("enable_recv_pipe", "sockets receive into the buffers of the pool, many bytes at once");
        }
        if self.enable_placement_id.is_some_and(|source| source != 0) {
            without("enable_placement_id", "an application asks each socket for its placement where it wants it");
        }
        let lends = |option: &str, asked: Option<bool>, is: bool| match asked {
            Some(true) => check(backend, &SockOptions::default().zero_copy(0)).map_or_else(
                |why| {
                    without(option, &why.to_string());
                    false
                },
                |()| true,
            ),
            asked => asked.unwrap_or(is),
        };
        if self.enable_quickack == Some(true)
            && let Err(why) = check(backend, &SockOptions::default().quick_ack(true))
        {
            return refuse(&format!("enable_quickack: {why}"));
        }
        let sizes = [("recv_buf_size", self.recv_buf_size, before.recv_buf), ("send_buf_size", self.send_buf_size, before.send_buf)];
        let [recv_buf, send_buf] = sizes.map(|(name, asked, is)| asked.map_or(Ok(is), |bytes| size(backend, name, bytes)));
        Ok(ImplOptions {
            recv_buf: recv_buf?,
            send_buf: send_buf?,
            quick_ack: self.enable_quickack.unwrap_or(before.quick_ack),
            server_lends: lends("enable_zerocopy_send_server", self.enable_zerocopy_send_server, before.server_lends),
            client_lends: lends("enable_zerocopy_send_client", self.enable_zerocopy_send_client, before.client_lends),
            lends_from: self.zerocopy_threshold.unwrap_or(before.lends_from),
        })
    }
}

/// The size of a system's buffer: as it is asked for, or the most that the kernel grants, with a
/// warning. A size that SPDK's files carry by default, 2 MiB, is more than many systems grant.
fn size(backend: &'static dyn NetImpl, name: &str, bytes: usize) -> Result<Option<usize>, Error> {
    let (is_recv, limit) = (name == "recv_buf_size", if name == "recv_buf_size" { "rmem_max" } else { "wmem_max" });
    let with = |bytes| match is_recv {
        true => SockOptions::default().recv_buf(bytes),
        false => SockOptions::default().send_buf(bytes),
    };
    if bytes == 0 {
        return Ok(None);
    }
    let Err(why) = check(backend, &with(bytes)) else { return Ok(Some(bytes)) };
    let granted = fs::read_to_string(format!("/proc/sys/net/core/{limit}")).ok().and_then(|text| text.trim().parse().ok());
    match granted.filter(|granted| *granted < bytes && check(backend, &with(*granted)).is_ok()) {
        Some(granted) => {
            log::warn!(
                "sock_impl_set_options of {}: {name} is {granted}, not {bytes}, which the system does not grant (see net.core.{limit})",
                backend.name()
            );
            Ok(Some(granted))
        }
        None => Err(Error::params(format!("Invalid parameters: {name}: {why}"))),
    }
}

/// Whether sockets of the backend can be like that, found out by making one.
fn check(backend: &'static dyn NetImpl, options: &SockOptions) -> Result<(), NetError> {
    // It connects when it joins a group, which it does not.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    match backend.connect(&[nowhere], options) {
        Err(why @ NetError::Option { .. }) => Err(why),
        // Where a socket cannot be had at all, that shows when one is needed.
        _ => Ok(()),
    }
}

/// The calls that would choose the backend again.
pub(super) fn calls(app: &AppHandle) -> Vec<Value> {
    let options = |backend: &dyn NetImpl| {
        let mut params = json!(Told::of(&app.said().options(backend.name())));
        params["impl_name"] = backend.name().into();
        json!({"method": "sock_impl_set_options", "params": params})
    };
    let chosen = json!({"method": "sock_set_default_impl", "params": {"impl_name": app.net().name()}});
    [chosen].into_iter().chain(backends(app).into_iter().map(options)).collect()
}

/// The backend whose options a call sets, if it is not here.
pub(super) fn foreign(app: &AppHandle, method: &Method, params: Option<&Params>) -> Option<String> {
    #[derive(Deserialize)]
    struct Of {
        impl_name: String,
    }
    let Of { impl_name } = (method.name == SET_OPTIONS.name).then(|| serde_json::from_str(&params?.text).ok())??;
    find(app, &impl_name).is_err().then_some(impl_name)
}
