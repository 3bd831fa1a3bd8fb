//! Access lists of files and folders. Private means access only for SYSTEM, Administrators, the
//! service and the user of this process, without inheritance from the parent folder.

use std::io;
use std::path::Path;

use windows_permissions::constants::AceType::{
    ACCESS_ALLOWED_ACE_TYPE, ACCESS_ALLOWED_CALLBACK_ACE_TYPE,
    ACCESS_ALLOWED_CALLBACK_OBJECT_ACE_TYPE, ACCESS_ALLOWED_OBJECT_ACE_TYPE,
};
use windows_permissions::constants::SeObjectType::SE_FILE_OBJECT;
use windows_permissions::constants::{AccessRights, SecurityInformation};
use windows_permissions::utilities::current_process_sid;
use windows_permissions::wrappers::{GetNamedSecurityInfo, SetNamedSecurityInfo};
use windows_permissions::{Acl, LocalBox, SecurityDescriptor};

use super::super::Kind;

/// SID of the account `NT SERVICE\authrelay`: 80 and the SHA-1 of the service's name in capitals
/// (`sc showsid authrelay`).
pub(super) const SERVICE_SID: &str =
    "S-1-5-80-1521716224-3327340366-3370909242-1995641614-3993902069";

/// SIDs allowed on a private file in addition to the process's user: SYSTEM, Administrators, creator
/// and owner, and Windows' installer.
const TRUSTED: [&str; 6] = [
    "S-1-5-18",
    "S-1-5-32-544",
    "S-1-3-0",
    "S-1-3-4",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
    SERVICE_SID,
];

/// Whether rights allow reading or changing the content or the access list.
fn reveals(rights: AccessRights) -> bool {
    // FILE_READ_DATA, FILE_WRITE_DATA, FILE_APPEND_DATA.
    let data = AccessRights::Bit0 | AccessRights::Bit1 | AccessRights::Bit2;
    let owner = AccessRights::WriteDac | AccessRights::WriteOwner;
    let generic = AccessRights::GenericAll | AccessRights::GenericRead | AccessRights::GenericWrite;
    rights.intersects(data | owner | generic)
}

fn current_user() -> io::Result<String> {
    current_process_sid().map(|sid| sid.to_string())
}

/// SIDs with unwanted access; empty if the file is private.
pub(super) fn others(path: &Path) -> io::Result<Vec<String>> {
    let wanted = SecurityInformation::Dacl | SecurityInformation::Owner;
    let descriptor = GetNamedSecurityInfo(path.as_os_str(), SE_FILE_OBJECT, wanted)?;
    let ours = current_user()?;
    let Some(list) = descriptor.dacl() else {
        // Without a list everyone has access.
        return Ok(vec!["S-1-1-0".to_owned()]);
    };
    let owner = descriptor.owner().map(ToString::to_string);
    let mut others: Vec<String> = allowed(list)
        .filter(|sid| {
            !TRUSTED.contains(&sid.as_str()) && *sid != ours && Some(sid) != owner.as_ref()
        })
        .collect();
    others.dedup();
    Ok(others)
}

/// SIDs that the list allows to read or change something.
fn allowed(list: &Acl) -> impl Iterator<Item = String> {
    (0..list.len())
        .filter_map(|index| list.get_ace(index))
        .filter(|entry| {
            let allows = matches!(
                entry.ace_type(),
                ACCESS_ALLOWED_ACE_TYPE
                    | ACCESS_ALLOWED_CALLBACK_ACE_TYPE
                    | ACCESS_ALLOWED_OBJECT_ACE_TYPE
                    | ACCESS_ALLOWED_CALLBACK_OBJECT_ACE_TYPE
            );
            allows && reveals(entry.mask())
        })
        .filter_map(|entry| entry.sid().map(ToString::to_string))
}

/// Sets an access list: SYSTEM, Administrators, the service, and the user of this process.
pub(super) fn make_private(path: &Path, kind: Kind) -> io::Result<()> {
    let ours = current_user()?;
    let mut sids = vec!["SY", "BA", SERVICE_SID];
    // SYSTEM is already in the list.
    if ours != "S-1-5-18" && ours != SERVICE_SID {
        sids.push(&ours);
    }
    set(path, kind, &sids)
}

/// Sets the access list of the service's folder: SYSTEM, Administrators and the service. Its
/// content inherits the list.
pub(super) fn make_services(folder: &Path) -> io::Result<()> {
    set(folder, Kind::Folder, &["SY", "BA", SERVICE_SID])
}

fn set(path: &Path, kind: Kind, sids: &[&str]) -> io::Result<()> {
    let inherit = match kind {
        Kind::File => "",
        Kind::Folder => "OICI",
    };
    let entries: String = sids
        .iter()
        .map(|sid| format!("(A;{inherit};FA;;;{sid})"))
        .collect();
    let descriptor: LocalBox<SecurityDescriptor> = format!("D:P{entries}").parse()?;
    SetNamedSecurityInfo(
        path.as_os_str(),
        SE_FILE_OBJECT,
        SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        None,
        None,
        descriptor.dacl(),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_identifier_is_made_of_its_name() {
        let name: Vec<u8> = "AUTHRELAY"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &name);
        let parts: Vec<String> = digest
            .as_ref()
            .chunks(4)
            .map(|part| u32::from_le_bytes(part.try_into().unwrap()).to_string())
            .collect();
        assert_eq!(SERVICE_SID, format!("S-1-5-80-{}", parts.join("-")));
    }

    #[test]
    fn reading_or_changing_reveals_and_traversing_does_not() {
        assert!(reveals(AccessRights::FileGenericRead));
        assert!(reveals(AccessRights::FileAllAccess));
        assert!(reveals(AccessRights::GenericAll));
        assert!(!reveals(AccessRights::FileGenericExecute));
        assert!(!reveals(AccessRights::Synchronize));
    }
}
