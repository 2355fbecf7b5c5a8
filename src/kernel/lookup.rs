//! What of the declarations a profile has, item by item.

use serde::Serialize;

use super::declare::Declarations;
use super::profile::{Profile, ProfileMember};

/// A declared field or symbol, looked up in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// The structure; `None` for a symbol.
    #[serde(rename = "struct")]
    pub structure: Option<&'static str>,
    /// Our name for it.
    pub name: &'static str,
    /// Whether a kernel may lack it.
    pub optional: bool,
    /// The kernel's names that are tried, newest kernel first.
    pub tried: &'static [&'static str],
    /// The one that this kernel has.
    pub found: Option<&'static str>,
    /// The place of a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<ProfileMember>,
    /// The address of a symbol, as linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// Where that is from.
    pub from: Option<String>,
}

impl Looked {
    /// Whether it must be there and is not.
    pub fn is_missing(&self) -> bool {
        self.found.is_none() && !self.optional
    }
}

/// Looks up everything that is declared, fields in the order of declaration.
/// Fields of a structure that a kernel may lack as a whole may be lacking too.
pub fn lookup(profile: &Profile, declarations: &Declarations) -> Vec<Looked> {
    let fields = declarations.structs.iter().flat_map(|structure| {
        let known = profile.structs.get(structure.name);
        structure.fields.iter().map(move |field| {
            let members = known.map(|known| &known.members);
            let found = field
                .paths
                .iter()
                .copied()
                .find_map(|path| Some((path, members?.get(path)?.clone())));
            Looked {
                structure: Some(structure.name),
                name: field.name,
                optional: field.optional || structure.optional && known.is_none(),
                tried: field.paths,
                found: found.as_ref().map(|(path, _)| *path),
                from: found.is_some().then(|| profile.origin.types.clone()),
                place: found.map(|(_, member)| member),
                address: None,
            }
        })
    });
    let symbols = declarations.symbols.iter().map(|symbol| {
        let found =
            symbol.names.iter().find_map(|name| Some((*name, *profile.symbols.get(*name)?)));
        Looked {
            structure: None,
            name: symbol.name,
            optional: symbol.optional,
            tried: symbol.names,
            found: found.map(|(name, _)| name),
            place: None,
            address: found.map(|(_, addr)| addr),
            from: found.is_some().then(|| profile.origin.symbols.clone()),
        }
    });
    fields.chain(symbols).collect()
}
