//! What the rest of the program reads of a kernel, as data.
//!
//! Each structure is declared once, with the paths to try for each field,
//! newest kernel first. A new kernel is a new path in a list, not a new `if` in
//! the code that walks.

/// A field of a kernel structure.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct FieldDecl {
    /// Our name for it.
    pub name: &'static str,
    /// The kernel's names, newest first: `a.b` descends into a member, and
    /// anonymous structures and unions are transparent.
    pub paths: &'static [&'static str],
    /// Whether a kernel may lack it.
    pub optional: bool,
}

/// A kernel structure.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct StructDecl {
    /// The kernel's name: of a `struct`, a `union` or a `typedef` of one.
    pub name: &'static str,
    /// The fields that are read.
    pub fields: &'static [FieldDecl],
    /// Whether a kernel may lack it as a whole.
    pub optional: bool,
}

/// A symbol of the kernel image.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SymbolDecl {
    /// Our name for it.
    pub name: &'static str,
    /// The kernel's names, newest first.
    pub names: &'static [&'static str],
    /// Whether a kernel may lack it.
    pub optional: bool,
}

/// Everything that is read of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Declarations {
    /// The structures.
    pub structs: &'static [&'static StructDecl],
    /// The symbols.
    pub symbols: &'static [SymbolDecl],
}
