// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes bytes from the front, never more than there are.

use super::Fault;

/// Bytes that are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.0.split_first().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*first))
    }

    /// A vector whose length is one byte.
    pub(super) fn vector8(&mut self) -> Result<Self, Fault> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    /// A vector whose length is two bytes.
    pub(super) fn vector16(&mut self) -> Result<Self, Fault> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Fault::Malformed)
        }
    }
}
