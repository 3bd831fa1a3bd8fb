//! A member on its own: what it keeps on disk.

use super::*;
use crate::cluster::command::Reply;
use crate::secret::Secret;

/// A store that never answers.
struct NoStore;

impl Store for NoStore {
    fn execute<'a>(&'a self, _: &'a Context, _: &'a Command) -> Reply<'a> {
        Box::pin(std::future::pending())
    }
}

fn member(directory: &std::path::Path) -> Arc<Member> {
    let identity = Identity::open(directory, Some("here")).unwrap();
    let keys = Arc::new(Keys::new(&Secret::from("a key of some length")).unwrap());
    Member::new(identity, keys, Arc::new(NoStore), watch::channel(Ok(())).1)
}

fn remembered(directory: &std::path::Path) -> Vec<Arc<str>> {
    let identity = Identity::open(directory, None).unwrap();
    identity.remembered(Duration::ZERO).ids().cloned().collect()
}

/// A relay that joined is in the roster on disk at once: a restart would otherwise know nothing of
/// it, and redeem a refresh token that it is redeeming.
#[tokio::test]
async fn a_relay_that_joined_is_on_disk_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let member = member(directory.path());
    assert!(remembered(directory.path()).is_empty());
    for id in ["x", "y"] {
        member.on_published(Published::Joined(id.into())).await;
        assert!(remembered(directory.path()).contains(&id.into()), "{id}");
    }
}

/// d50: a roster that could not be written is written with the next change or answer, not minutes
/// later.
#[tokio::test]
async fn d50_a_roster_that_could_not_be_written_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let member = member(directory.path());
    // A folder in the place of the file: it cannot be replaced.
    let file = directory.path().join("roster.json");
    std::fs::create_dir(&file).unwrap();
    let joined = || member.on_published(Published::Joined("x".into()));
    joined().await;
    std::fs::remove_dir(&file).unwrap();
    joined().await;
    assert!(remembered(directory.path()).contains(&"x".into()));
}
