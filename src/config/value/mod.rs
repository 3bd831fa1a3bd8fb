//! Types of the configuration's values: how each is read, and its description in the reference.

pub(super) mod certificates;
mod collections;
mod mail;
mod network;
mod scalars;

pub(super) use collections::{AnyNumber, Each, EachOfAny, Named};
pub(super) use network::{BaseUrl, EndpointUrl, HostName, HostPort, https};
pub(super) use scalars::{Day, Name, Program, Scope, YEAR};
