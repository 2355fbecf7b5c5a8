//! How a structure is declared and read.

use std::marker::PhantomData;

use crate::kernel::{Kernel, KernelError, Member, StructDecl, StructLayout};
use crate::memory::GuestVirt;

/// A kernel structure at an address.
#[derive(Clone, Copy, Debug)]
pub struct View<'k> {
    kernel: &'k Kernel,
    layout: &'k StructLayout,
    decl: &'static StructDecl,
    addr: GuestVirt,
}

/// A declared kernel structure. `kernel_struct!` implements it.
pub trait Struct<'k>: Copy {
    /// What is read of it.
    fn decl() -> &'static StructDecl;

    /// The structure behind a view of it.
    fn from_view(view: View<'k>) -> Self;

    /// Where it lies.
    fn view(&self) -> View<'k>;

    /// The structure at `addr`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`] where this kernel has no such structure.
    fn at(kernel: &'k Kernel, addr: GuestVirt) -> Result<Self, KernelError> {
        View::new(kernel, Self::decl(), addr).map(Self::from_view)
    }

    /// Whether this kernel has such a structure.
    fn exists(kernel: &Kernel) -> bool {
        kernel.layout(Self::decl()).is_some()
    }

    /// The structure whose member `field` lies at `member`, as the kernel's
    /// `container_of()`.
    ///
    /// # Errors
    ///
    /// As [`at`](Self::at), or [`KernelError::MissingField`].
    fn container_of(
        kernel: &'k Kernel,
        member: GuestVirt,
        field: &'static str,
    ) -> Result<Self, KernelError> {
        let view = View::new(kernel, Self::decl(), member)?;
        let offset = view.place(field)?.member.offset;
        Self::at(kernel, GuestVirt::new(member.get().wrapping_sub(offset)))
    }

    /// Its guest-virtual address.
    fn addr(&self) -> GuestVirt {
        self.view().addr
    }

    /// The kernel that it belongs to.
    fn kernel(&self) -> &'k Kernel {
        self.view().kernel
    }

    /// `sizeof`, in bytes.
    fn size(&self) -> u64 {
        self.view().layout.size
    }

    /// The place of the field of this name, for writing it.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingField`].
    fn place(&self, field: &'static str) -> Result<Place<'k>, KernelError> {
        self.view().place(field)
    }
}

impl<'k> View<'k> {
    fn new(
        kernel: &'k Kernel,
        decl: &'static StructDecl,
        addr: GuestVirt,
    ) -> Result<Self, KernelError> {
        let layout = kernel.layout(decl).ok_or_else(|| KernelError::MissingStruct {
            release: kernel.release().to_owned(),
            structure: decl.name,
        })?;
        Ok(Self { kernel, layout, decl, addr })
    }

    /// The place of the declared field number `index`; `None` where this kernel
    /// lacks it.
    pub fn member(&self, index: usize) -> Option<Place<'k>> {
        let member = (*self.layout.members.get(index)?)?;
        let field = self.decl.fields.get(index)?;
        Some(Place {
            kernel: self.kernel,
            addr: self.addr.wrapping_add(member.offset),
            member,
            name: (self.decl.name, field.name),
        })
    }

    /// As [`member`](Self::member), for a field that must be there.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingField`].
    pub fn required(&self, index: usize) -> Result<Place<'k>, KernelError> {
        self.member(index).ok_or_else(|| KernelError::MissingField {
            release: self.kernel.release().to_owned(),
            structure: self.decl.name,
            paths: self.decl.fields.get(index).map_or(&[], |field| field.paths),
        })
    }

    fn place(&self, field: &'static str) -> Result<Place<'k>, KernelError> {
        let index = self.decl.fields.iter().position(|known| known.name == field);
        self.required(index.unwrap_or(usize::MAX))
    }
}

/// A field of a structure at an address.
#[derive(Clone, Copy, Debug)]
pub struct Place<'k> {
    kernel: &'k Kernel,
    addr: GuestVirt,
    member: Member,
    name: (&'static str, &'static str),
}

impl<'k> Place<'k> {
    /// The kernel that the field belongs to.
    pub fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// The guest-virtual address of the field's first byte.
    pub fn addr(&self) -> GuestVirt {
        self.addr
    }

    /// The field's size in bytes.
    pub fn size(&self) -> u64 {
        self.member.size
    }

    /// Copies the field's first bytes into `buf`.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read; the error names structure and field.
    pub fn read(&self, buf: &mut [u8]) -> Result<(), KernelError> {
        self.kernel.read(self.addr, buf).map_err(|error| self.named(error))
    }

    /// The field's value as an integer of the width that this kernel gives it,
    /// extended to 64 bits according to its sign.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), or [`KernelError::Corrupt`] where the field is
    /// not an integer.
    pub fn load(&self) -> Result<u64, KernelError> {
        let mut word = [0; 8];
        self.read(&mut word[..self.width()?])?;
        let raw = u64::from_le_bytes(word);
        Ok(match self.member.bits {
            Some(bits) => raw >> bits.first & low_bits(bits.count),
            None if self.member.signed => sign_extend(raw, self.member.size),
            None => raw,
        })
    }

    /// Stores the low bits of `value` into the field, leaving the neighbours of
    /// a bit field as they are.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn store(&self, value: u64) -> Result<(), KernelError> {
        let width = self.width()?;
        let mut word = [0; 8];
        self.read(&mut word[..width])?;
        let raw = match self.member.bits {
            Some(bits) => {
                let mask = low_bits(bits.count) << bits.first;
                u64::from_le_bytes(word) & !mask | value << bits.first & mask
            }
            None => value,
        };
        let bytes = raw.to_le_bytes();
        self.kernel.write(self.addr, &bytes[..width]).map_err(|error| self.named(error))
    }

    fn width(&self) -> Result<usize, KernelError> {
        match self.member.size {
            size @ (1 | 2 | 4 | 8) => Ok(size as usize),
            size => Err(self.corrupt(format!("{size} bytes are not an integer"))),
        }
    }

    fn named(&self, error: KernelError) -> KernelError {
        match error {
            KernelError::Memory(source) => {
                KernelError::Read { what: self.to_string(), addr: self.addr, source }
            }
            other => other,
        }
    }

    /// An error that says what is wrong with the field's value.
    pub fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: self.to_string(), addr: self.addr, why }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.name.0, self.name.1)
    }
}

fn low_bits(count: u8) -> u64 {
    1u64.checked_shl(u32::from(count)).map_or(u64::MAX, |bit| bit - 1)
}

fn sign_extend(raw: u64, bytes: u64) -> u64 {
    let unused = 64 - 8 * bytes.clamp(1, 8) as u32;
    ((raw << unused).cast_signed() >> unused).cast_unsigned()
}

/// A type that a field can be declared with.
pub trait Value<'k> {
    /// What reading the field gives.
    type Output;

    /// Reads the field.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read or the value does not fit.
    fn load(place: Place<'k>) -> Result<Self::Output, KernelError>;
}

macro_rules! integer_values {
    ($($int:ty),*) => {$(
        impl<'k> Value<'k> for $int {
            type Output = Self;

            fn load(place: Place<'k>) -> Result<Self, KernelError> {
                let raw = place.load()?;
                // A narrower type must hold the value; a sign that kernels
                // disagree about is taken as declared here.
                Self::try_from(raw)
                    .or_else(|_| Self::try_from(raw.cast_signed()))
                    .or_else(|_| {
                        if place.size() == size_of::<Self>() as u64 {
                            Ok(raw as Self)
                        } else {
                            Err(place.corrupt(format!("{raw:#x} does not fit {}", stringify!($int))))
                        }
                    })
            }
        }
    )*};
}

integer_values!(u8, u16, u32, u64, i16, i32, i64);

impl<'k> Value<'k> for bool {
    type Output = Self;

    fn load(place: Place<'k>) -> Result<Self, KernelError> {
        Ok(place.load()? != 0)
    }
}

/// A pointer that is not followed, or an address of the process.
impl<'k> Value<'k> for GuestVirt {
    type Output = Self;

    fn load(place: Place<'k>) -> Result<Self, KernelError> {
        place.load().map(GuestVirt::new)
    }
}

/// Bytes, cut or filled with zeros to `N`.
impl<'k, const N: usize> Value<'k> for [u8; N] {
    type Output = Self;

    fn load(place: Place<'k>) -> Result<Self, KernelError> {
        let mut bytes = [0; N];
        let len = usize::try_from(place.size()).unwrap_or(N).min(N);
        place.read(&mut bytes[..len])?;
        Ok(bytes)
    }
}

/// A pointer to a structure; null is `None`.
#[derive(Debug)]
pub struct Ptr<T>(PhantomData<T>);

impl<'k, T: Struct<'k>> Value<'k> for Ptr<T> {
    type Output = Option<T>;

    fn load(place: Place<'k>) -> Result<Option<T>, KernelError> {
        let addr = GuestVirt::load(place)?;
        if addr.is_null() { Ok(None) } else { T::at(place.kernel, addr).map(Some) }
    }
}

/// A structure that is part of another.
#[derive(Debug)]
pub struct Embedded<T>(PhantomData<T>);

impl<'k, T: Struct<'k>> Value<'k> for Embedded<T> {
    type Output = T;

    fn load(place: Place<'k>) -> Result<T, KernelError> {
        T::at(place.kernel, place.addr)
    }
}

/// A field that is read by hand: its place.
#[derive(Debug)]
pub struct Raw;

impl<'k> Value<'k> for Raw {
    type Output = Place<'k>;

    fn load(place: Place<'k>) -> Result<Place<'k>, KernelError> {
        Ok(place)
    }
}

/// Structures one after the other.
#[derive(Debug)]
pub struct Array<T>(PhantomData<T>);

/// Where an [`Array`] lies.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'k, T> {
    place: Place<'k>,
    _element: PhantomData<T>,
}

impl<'k, T: Struct<'k>> Value<'k> for Array<T> {
    type Output = Elements<'k, T>;

    fn load(place: Place<'k>) -> Result<Elements<'k, T>, KernelError> {
        Ok(Elements { place, _element: PhantomData })
    }
}

impl<'k, T: Struct<'k>> Elements<'k, T> {
    /// The element number `index`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] past the end of the array.
    pub fn get(&self, index: u64) -> Result<T, KernelError> {
        let first = T::at(self.place.kernel, self.place.addr)?;
        let end = index.checked_add(1).and_then(|count| count.checked_mul(first.size()));
        if end.is_none_or(|end| end > self.place.size()) {
            return Err(self.place.corrupt(format!("it has no element {index}")));
        }
        T::at(self.place.kernel, self.place.addr.wrapping_add(index * first.size()))
    }
}

/// Declares a kernel structure: our name and the kernel's, and for each field
/// our name, its type and the paths to try, newest kernel first. `= [..]` must
/// be there, `= ?[..]` may be absent and then reads as `None`.
macro_rules! kernel_struct {
    (
        $(#[$doc:meta])*
        $(($optional:ident))? pub struct $name:ident: $kernel_name:literal {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $ty:ty = $([$($path:literal),+])? $(? [$($maybe:literal),+])?
            ),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'k>($crate::linux::view::View<'k>);

        impl<'k> $name<'k> {
            /// What is read of it.
            pub const fn declaration() -> &'static $crate::kernel::StructDecl {
                static DECL: $crate::kernel::StructDecl = $crate::kernel::StructDecl {
                    name: $kernel_name,
                    fields: &[$(
                        $crate::kernel::FieldDecl {
                            name: stringify!($field),
                            paths: &[$($($path),+)? $($($maybe),+)?],
                            optional: kernel_struct!(@optional $($($maybe)+)?),
                        }
                    ),*],
                    optional: kernel_struct!(@optional $($optional)?),
                };
                &DECL
            }

            kernel_struct!(@accessors (0) $(
                { $(#[$field_doc])* $field: $ty, $(required $([$path])+)? $(maybe $([$maybe])+)? }
            )*);
        }

        impl<'k> $crate::linux::view::Struct<'k> for $name<'k> {
            fn decl() -> &'static $crate::kernel::StructDecl {
                Self::declaration()
            }

            fn from_view(view: $crate::linux::view::View<'k>) -> Self {
                Self(view)
            }

            fn view(&self) -> $crate::linux::view::View<'k> {
                self.0
            }
        }
    };

    (@optional) => { false };
    (@optional $($some:tt)+) => { true };

    (@accessors ($index:expr)) => {};
    (@accessors ($index:expr)
        { $(#[$doc:meta])* $field:ident: $ty:ty, required $($path:tt)+ } $($rest:tt)*
    ) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// Where guest memory cannot be read.
        pub fn $field(
            &self,
        ) -> Result<<$ty as $crate::linux::view::Value<'k>>::Output, $crate::kernel::KernelError> {
            <$ty as $crate::linux::view::Value<'k>>::load(self.0.required($index)?)
        }

        kernel_struct!(@accessors ($index + 1) $($rest)*);
    };
    (@accessors ($index:expr)
        { $(#[$doc:meta])* $field:ident: $ty:ty, maybe $($path:tt)+ } $($rest:tt)*
    ) => {
        $(#[$doc])*
        /// `None` where this kernel has no such field.
        ///
        /// # Errors
        ///
        /// Where guest memory cannot be read.
        pub fn $field(
            &self,
        ) -> Result<
            Option<<$ty as $crate::linux::view::Value<'k>>::Output>,
            $crate::kernel::KernelError,
        > {
            self.0.member($index).map(<$ty as $crate::linux::view::Value<'k>>::load).transpose()
        }

        kernel_struct!(@accessors ($index + 1) $($rest)*);
    };
}
