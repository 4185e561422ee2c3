//! The colors of a set, each with the access that the set wants.

use std::marker::PhantomData;
use std::ptr::NonNull;

use dapple_colors::Access;

use crate::color::cell::ColorCell;

/// One color of a set and its access: the lowest bit of the pointer says that it is shared.
#[derive(Clone, Copy)]
pub(super) struct Want(NonNull<u8>);

const SHARED: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > SHARED);

impl Want {
    #[inline]
    fn new(cell: &ColorCell, access: Access) -> Self {
        let bit = if access == Access::Shared { SHARED } else { 0 };
        Want(cell.me().cast::<u8>().map_addr(|a| a | bit))
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<ColorCell> {
        let plain = self.0.as_ptr().map_addr(|a| a & !SHARED);
        // SAFETY: without the bit this is the pointer that `new` got from `me`, which was not null.
        unsafe { NonNull::new_unchecked(plain) }.cast()
    }

    #[inline]
    pub(super) fn is_of(self, cell: &ColorCell) -> bool {
        self.0.as_ptr().addr() & !SHARED == std::ptr::from_ref(cell).addr()
    }

    #[inline]
    pub(super) fn access(self) -> Access {
        match self.0.as_ptr().addr() & SHARED {
            0 => Access::Exclusive,
            _ => Access::Shared,
        }
    }
}

/// A color that a set names, while something keeps it alive.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a>(pub(super) Want, PhantomData<&'a ColorCell>);

impl<'a> Named<'a> {
    #[inline]
    pub(crate) fn new(cell: &'a ColorCell, access: Access) -> Self {
        Named(Want::new(cell, access), PhantomData)
    }

    #[inline]
    pub(crate) fn cell(&self) -> &'a ColorCell {
        // SAFETY: the pointer was made from a reference with the lifetime `'a`.
        unsafe { self.0.as_ptr().as_ref() }
    }

    #[inline]
    pub(crate) fn access(&self) -> Access {
        self.0.access()
    }
}

impl dapple_colors::set::Want for Named<'_> {
    /// The number of the color, which defines the one order of all colors.
    type Key = u64;
    #[inline]
    fn key(&self) -> u64 {
        self.cell().serial()
    }
    #[inline]
    fn access(&self) -> Access {
        self.0.access()
    }
    #[inline]
    fn set_access(&mut self, access: Access) {
        *self = Named::new(self.cell(), access);
    }
}
