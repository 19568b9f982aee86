//! The methods that make these devices, look at their files again, and take them away.

use bdev::Bdevs;
use bdev::rpc::{Named, PHASES, delete};
use bdev_file::{Create, rescan};
use rpc::Method;

use crate::PRODUCT;

rpc::register!(
    Method::new("bdev_aio_create", "Makes a block device of a file, over threads", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: Create| create.make(&*bdevs?, crate::aio));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_aio_delete", "Removes a block device over threads", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, PRODUCT));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_aio_rescan", "Takes on the size that the file of a block device has now", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| rescan(&*bdevs?, &named, PRODUCT));
    })
    .phases(PHASES)
);
