//! In the place of `libvirt.rs` in a build without the feature `libvirt`: there
//! are no domains of libvirt, and asking for one says so.

#![allow(dead_code, reason = "nothing of this is ever made")]

use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::command::Command;
use super::error::{DomainError, Result};
use super::process::QemuProcess;

#[derive(Debug, Clone, Copy)]
pub(super) enum Called<'a> {
    Name(&'a str),
    Uuid(&'a str),
}

#[derive(Debug, Clone)]
pub(super) struct LibvirtDomain(Infallible);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Paused,
    Other,
}

#[derive(Debug)]
pub(super) struct LibvirtAddress(Infallible);

#[derive(Debug)]
pub(super) struct LibvirtMonitor(Infallible);

pub(super) fn uris(_: Option<&QemuProcess>) -> Vec<String> {
    Vec::new()
}

impl LibvirtDomain {
    pub fn find(name: &str, _: &[String], _: Called<'_>) -> Result<Option<Self>> {
        Err(DomainError::WithoutLibvirt(name.to_owned()))
    }

    pub fn name(&self) -> Result<String> {
        match self.0 {}
    }

    pub fn is_active(&self) -> Result<bool> {
        match self.0 {}
    }

    pub fn state(&self) -> Result<State> {
        match self.0 {}
    }

    pub fn suspend(&self) -> Result<()> {
        match self.0 {}
    }

    pub fn resume(&self) -> Result<()> {
        match self.0 {}
    }

    pub fn agent(&self, _: &Value, _: Duration) -> Result<Value, String> {
        match self.0 {}
    }

    pub fn command(&self, _: &Command<'_>) -> Result<Result<Value>> {
        match self.0 {}
    }
}

impl LibvirtAddress {
    pub fn open(&self) -> Result<LibvirtDomain> {
        match self.0 {}
    }
}

impl LibvirtMonitor {
    pub fn of(domain: LibvirtDomain) -> Result<(Self, QemuProcess)> {
        match domain.0 {}
    }

    pub fn execute_all(&self, _: &[Command<'_>]) -> Result<Vec<Result<Value>>> {
        match self.0 {}
    }

    pub fn execute_with(&self, _: &Command<'_>, _: BorrowedFd<'_>) -> Result<Value> {
        match self.0 {}
    }

    pub fn cont(&self) -> Result<()> {
        match self.0 {}
    }

    pub fn address(&self) -> &LibvirtAddress {
        match self.0 {}
    }

    pub fn add_socket(&self, _: &str) -> Result<UnixStream> {
        match self.0 {}
    }
}
