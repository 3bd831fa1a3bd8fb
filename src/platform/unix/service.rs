//! Stubs for the Windows service manager.

use std::path::Path;

use super::super::service::{ServiceError, Status};

pub(in super::super) fn install(_: &Path) -> Result<Vec<String>, ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(in super::super) fn uninstall() -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(in super::super) fn start() -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(in super::super) fn stop() -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(in super::super) fn status() -> Result<Status, ServiceError> {
    Err(ServiceError::Unsupported)
}
