//! Output of the machine's actions.

use super::super::interface::{Action, Out};

/// Collects lines for the upstream, so that pipelined commands stay one write, and forwards text
/// directly.
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

    /// Adds a command for the upstream that includes its line end.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
    }

    /// Adds a command for the upstream and its line end.
    pub(super) fn command(&mut self, command: &[u8]) {
        self.lines.extend_from_slice(command);
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Sends octets of a message to the upstream.
    pub(super) fn text(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.flush();
            (self.out)(Action::ToUpstream(octets));
        }
    }

    pub(super) fn client(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            (self.out)(Action::ToClient(octets));
        }
    }

    /// Emits an action after the lines collected so far.
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
