//! Implementation for Unix; only Linux is tested.

pub(super) mod confinement;
pub(super) mod files;
pub(super) mod host;
pub(super) mod manager;
pub(super) mod process;
pub(super) mod service;
