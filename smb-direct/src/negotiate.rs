//! Negotiation: what each side checks, and what comes of it.

use crate::ended::Rule::{self, AtLeast, AtMost, Exactly};
use crate::wire::{self, LEAST_FRAGMENTED_SIZE, LEAST_RECEIVE_SIZE, NOT_SUPPORTED, NegotiateRequest, NegotiateResponse, SUCCESS, VERSION};
use crate::{Ended, Settings};

/// What both ends have agreed on, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Bytes of the longest message to send, header included.
    pub max_send_size: u32,
    /// Bytes of the longest message that the peer may send, header included.
    pub max_receive_size: u32,
    /// Bytes of the longest upper-layer message to send.
    pub max_fragmented_send_size: u32,
    /// Bytes of the longest upper-layer message that the peer may send.
    pub max_fragmented_receive_size: u32,
    /// Bytes of the largest transfer by RDMA read or write.
    pub max_read_write_size: u32,
    /// Credits that the peer asked for.
    pub credits_requested: u16,
    /// Credits that the peer granted: to a client, in its response.
    pub credits_granted: u16,
}

/// What a server makes of a request.
pub(crate) enum Verdict {
    Accept(Agreed),
    /// Answer so, then end.
    Refuse(NegotiateResponse, Ended),
    /// End without an answer.
    End(Ended),
}

/// The request of a client.
//= MS-SMBD 3.1.4.1
pub(crate) fn request(own: &Settings) -> NegotiateRequest {
    NegotiateRequest {
        min_version: VERSION.into(),
        max_version: VERSION.into(),
        reserved: 0.into(),
        credits_requested: own.credits.into(),
        preferred_send_size: own.preferred_send_size.into(),
        max_receive_size: own.max_receive_size.into(),
        max_fragmented_size: own.max_fragmented_size.into(),
    }
}

/// What a server makes of a request.
//= MS-SMBD 3.1.5.6
pub(crate) fn judge(message: &[u8], own: &Settings) -> Verdict {
    let Some(request) = wire::read::<NegotiateRequest>(message) else {
        let least = size_of::<NegotiateRequest>();
        return Verdict::End(Ended::Short { message: "a negotiate request", length: message.len(), least });
    };
    let (min, max) = (request.min_version.get(), request.max_version.get());
    if !(min..=max).contains(&VERSION) {
        return Verdict::Refuse(refusal(), Ended::Version { min, max });
    }
    let checked = check("request", "CreditsRequested", request.credits_requested.get().into(), AtLeast(1))
        .and_then(|()| check("request", "MaxReceiveSize", request.max_receive_size.get(), AtLeast(LEAST_RECEIVE_SIZE)))
        .and_then(|()| check("request", "MaxFragmentedSize", request.max_fragmented_size.get(), AtLeast(LEAST_FRAGMENTED_SIZE)));
    match checked {
        Err(why) => Verdict::End(why),
        Ok(()) => Verdict::Accept(Agreed {
            max_send_size: own.preferred_send_size.min(request.max_receive_size.get()),
            max_receive_size: own.max_receive_size.min(request.preferred_send_size.get()).max(LEAST_RECEIVE_SIZE),
            max_fragmented_send_size: request.max_fragmented_size.get(),
            max_fragmented_receive_size: own.max_fragmented_size,
            max_read_write_size: own.max_read_write_size,
            credits_requested: request.credits_requested.get(),
            credits_granted: 0,
        }),
    }
}

/// The answer of a server that has accepted, and posted `granted` receives.
//= MS-SMBD 3.1.5.6
pub(crate) fn response(agreed: &Agreed, own: &Settings, granted: u16) -> NegotiateResponse {
    NegotiateResponse {
        min_version: VERSION.into(),
        max_version: VERSION.into(),
        negotiated_version: VERSION.into(),
        reserved: 0.into(),
        credits_requested: own.credits.into(),
        credits_granted: granted.into(),
        status: SUCCESS.into(),
        max_read_write_size: agreed.max_read_write_size.into(),
        preferred_send_size: agreed.max_send_size.into(),
        max_receive_size: agreed.max_receive_size.into(),
        max_fragmented_size: agreed.max_fragmented_receive_size.into(),
    }
}

/// The answer to a request without a common version.
//= MS-SMBD 3.1.5.6
fn refusal() -> NegotiateResponse {
    let zero = 0.into();
    NegotiateResponse {
        min_version: VERSION.into(),
        max_version: VERSION.into(),
        negotiated_version: 0.into(),
        reserved: 0.into(),
        credits_requested: 0.into(),
        credits_granted: 0.into(),
        status: NOT_SUPPORTED.into(),
        max_read_write_size: zero,
        preferred_send_size: zero,
        max_receive_size: zero,
        max_fragmented_size: zero,
    }
}

/// What a client makes of a response.
//= MS-SMBD 3.1.5.7
pub(crate) fn conclude(message: &[u8], own: &Settings) -> Result<Agreed, Ended> {
    let response = read_response(message, own)?;
    // Before the other fields, which a refusal leaves empty.
    if response.status.get() == NOT_SUPPORTED {
        return Err(Ended::Version { min: response.min_version.get(), max: response.max_version.get() });
    }
    if response.status.get() != SUCCESS {
        return Err(Ended::Refused(response.status.get()));
    }
    for (field, value, rule) in [
        ("NegotiatedVersion", response.negotiated_version.get().into(), Exactly(VERSION.into())),
        ("MaxReceiveSize", response.max_receive_size.get(), AtLeast(LEAST_RECEIVE_SIZE)),
        ("MaxFragmentedSize", response.max_fragmented_size.get(), AtLeast(LEAST_FRAGMENTED_SIZE)),
        ("CreditsRequested", response.credits_requested.get().into(), AtLeast(1)),
        ("CreditsGranted", response.credits_granted.get().into(), AtLeast(1)),
        ("PreferredSendSize", response.preferred_send_size.get(), AtMost(own.max_receive_size)),
    ] {
        check("response", field, value, rule)?;
    }
    Ok(Agreed {
        max_send_size: own.preferred_send_size.min(response.max_receive_size.get()),
        // What the server was told it may send, also if it says that it would like to send less.
        max_receive_size: own.max_receive_size,
        max_fragmented_send_size: response.max_fragmented_size.get(),
        max_fragmented_receive_size: own.max_fragmented_size,
        max_read_write_size: own.max_read_write_size.min(response.max_read_write_size.get()),
        credits_requested: response.credits_requested.get(),
        credits_granted: response.credits_granted.get(),
    })
}

/// The fields of a response; those that a short one lacks, if it is to be taken, are the least that
/// there can be.
fn read_response(message: &[u8], own: &Settings) -> Result<NegotiateResponse, Ended> {
    const SHORT: usize = 20;
    if let Some(response) = wire::read(message) {
        return Ok(response);
    }
    if own.lenient_short_response && message.len() >= SHORT {
        let mut whole = [0; size_of::<NegotiateResponse>()];
        whole[..SHORT].copy_from_slice(&message[..SHORT]);
        if let Some(response) = wire::read::<NegotiateResponse>(&whole) {
            let (size, fragmented) = (LEAST_RECEIVE_SIZE.into(), LEAST_FRAGMENTED_SIZE.into());
            return Ok(NegotiateResponse { max_receive_size: size, max_fragmented_size: fragmented, ..response });
        }
    }
    let least = size_of::<NegotiateResponse>();
    Err(Ended::Short { message: "a negotiate response", length: message.len(), least })
}

fn check(message: &'static str, field: &'static str, value: u32, rule: Rule) -> Result<(), Ended> {
    if rule.holds(value) { Ok(()) } else { Err(Ended::Negotiate { message, field, value, rule }) }
}
