//! Implementation for Windows Server 2016 and later.

mod access;
pub(super) mod confinement;
mod events;
pub(super) mod files;
pub(super) mod host;
pub(super) mod manager;
mod name;
pub(super) mod process;
pub(super) mod service;
