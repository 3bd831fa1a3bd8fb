//! Where the machine's actions go.

use super::super::interface::{Action, Out};

/// Puts lines for the upstream together, so that pipelined commands stay one write, and passes
/// text on as it came.
pub(super) struct Sink<'a> {
    lines: Vec<u8>,
    out: Out<'a>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(out: Out<'a>) -> Self {
        Self {
            lines: Vec::new(),
            out,
        }
    }

    /// A command for the upstream, with its line end.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
    }

    /// A command for the upstream, without its line end.
    pub(super) fn command(&mut self, command: &[u8]) {
        self.lines.extend_from_slice(command);
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Sends octets of a message up.
    pub(super) fn text(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.flush();
            (self.out)(Action::ToUpstream(octets));
        }
    }

    pub(super) fn client(&mut self, octets: &[u8]) {
        (self.out)(Action::ToClient(octets));
    }

    /// Any action; what was said to the upstream before it is sent first.
    pub(super) fn act(&mut self, action: Action<'_>) {
        self.flush();
        (self.out)(action);
    }

    pub(super) fn flush(&mut self) {
        if !self.lines.is_empty() {
            (self.out)(Action::ToUpstream(&self.lines));
            self.lines.clear();
        }
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
