//! What holds at the end, when nothing happens any more.

use super::*;

impl World {
    pub(super) fn check_quiet(&self) -> Result<(), String> {
        let store = &self.servers[self.servers.len() - 1];
        let stored = store.data.records.get(NAME).map(Rec::of);
        let best = |relay: &Relay| match (relay.know, stored) {
            (Some(know), Some(stored)) if stored.number > know.number => Some(stored),
            (None, stored) => stored,
            (know, _) => know,
        };
        // d: the last act of a person stays.
        let by_gone = |act: u64| self.families.iter().any(|it| it.act == act && it.gone);
        if !(self.forgotten && self.tombstone_gone) {
            for relay in &self.relays {
                let stays = best(relay).is_none_or(|best| match best.what {
                    What::Tombstone { act } => {
                        (self.forgotten && act == self.acts) || by_gone(self.acts)
                    }
                    What::Token { family, .. } => {
                        let it = &self.families[family];
                        !self.forgotten && (it.act == self.acts || by_gone(self.acts))
                    }
                });
                if !stays {
                    return Err(format!("d: {} has {:?}", relay.id, best(relay)));
                }
            }
        }
        // b: a token once written stays usable by all.
        let last = self.families.iter().position(|it| it.act == self.acts);
        if let (false, Some(last)) = (self.forgotten, last)
            && !(self.families[last].gone && self.is_one_use())
        {
            for relay in &self.relays {
                let usable = best(relay).is_some_and(|best| match best.what {
                    What::Token { family, number, .. } if family == last => {
                        let it = &self.families[family];
                        let live = !it.revoked && (!self.is_one_use() || number == it.newest);
                        live && !best.ended
                    }
                    What::Token { .. } => true,
                    What::Tombstone { .. } => false,
                });
                if !usable {
                    return Err(format!("b: {} has {:?}", relay.id, best(relay)));
                }
            }
        }
        // e: a number has one truth.
        let all = self
            .relays
            .iter()
            .filter_map(|relay| relay.know)
            .chain(stored);
        let all: Vec<Rec> = all.collect();
        for one in &all {
            for other in &all {
                if one.number == other.number && !one.what.is_same(other.what) {
                    return Err(format!("e: {one:?} and {other:?}"));
                }
            }
        }
        Ok(())
    }
}
