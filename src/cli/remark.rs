//! What a save does not keep, as it is told.

use ovmigrate::capture::Remark;

use super::output::escaped;

/// Adds a line for each.
pub fn add_remarks(text: &mut String, remarks: &[Remark]) {
    for remark in remarks {
        text.push_str(&format!("note: {}\n", escaped(&remark.to_string())));
    }
}
