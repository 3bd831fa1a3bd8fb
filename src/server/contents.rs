//! Contents of the files that `reload: watch` compares.

use std::path::PathBuf;

/// Computes a digest of the files' content. An unreadable file counts as absent.
pub(super) fn contents(files: &[PathBuf]) -> [u8; 32] {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for path in files {
        let content = std::fs::read(path).map(zeroize::Zeroizing::new);
        let length = content
            .as_ref()
            .map_or(u64::MAX, |content| content.len() as u64);
        digest.update(&length.to_be_bytes());
        if let Ok(content) = &content {
            digest.update(content);
        }
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(digest.finish().as_ref());
    octets
}
