//! libvirt's client library, loaded where a domain of libvirt is asked for: it
//! brings some sixty other libraries along, which is most of the time that a
//! short command takes, and a plain QEMU needs none of them.
//!
//! What is called of it is declared here as in its headers, for the version of
//! its interface that its file name carries (`.so.0`) and that libvirt has kept
//! since its beginning (<https://libvirt.org/support.html>).

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libloading::Library;
use nix::libc;

/// The library, and the part of it that is for QEMU only.
const FILES: [&str; 2] = ["libvirt.so.0", "libvirt-qemu.so.0"];

/// `VIR_UUID_STRING_BUFLEN`, in bytes.
const UUID_TEXT_LEN: usize = 37;

/// Declares C functions, and loads them by their names.
macro_rules! functions {
    ($(#[$meta:meta])* struct $name:ident {
        $($function:ident: fn($($argument:ty),*) $(-> $result:ty)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug)]
        #[allow(non_snake_case, reason = "the names are libvirt's")]
        struct $name {
            $($function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Keeps them in memory.
            _library: Library,
        }

        impl $name {
            /// # Safety
            ///
            /// `library` is libvirt's.
            unsafe fn of(library: Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the caller vouches for the library, and its
                    // headers for the type of the function.
                    $($function: *unsafe { library.get(stringify!($function))? },)*
                    _library: library,
                })
            }
        }
    };
}

/// `virConnect` and `virDomain`, which are known by their addresses only.
#[derive(Debug)]
#[repr(C)]
struct RawConnection(c_void);
#[derive(Debug)]
#[repr(C)]
struct RawDomain(c_void);

/// `virErrorFunc`.
type ErrorFunction = extern "C" fn(*mut c_void, *mut c_void);

functions! {
    /// `libvirt/libvirt-host.h`, `libvirt/libvirt-domain.h` and
    /// `libvirt/virterror.h`.
    struct Core {
        virConnectOpen: fn(*const c_char) -> *mut RawConnection,
        virConnectClose: fn(*mut RawConnection) -> c_int,
        virDomainLookupByName: fn(*mut RawConnection, *const c_char) -> *mut RawDomain,
        virDomainLookupByUUIDString: fn(*mut RawConnection, *const c_char) -> *mut RawDomain,
        virDomainFree: fn(*mut RawDomain) -> c_int,
        virDomainGetName: fn(*mut RawDomain) -> *const c_char,
        virDomainGetUUIDString: fn(*mut RawDomain, *mut c_char) -> c_int,
        virDomainGetState: fn(*mut RawDomain, *mut c_int, *mut c_int, c_uint) -> c_int,
        virDomainIsActive: fn(*mut RawDomain) -> c_int,
        virDomainSuspend: fn(*mut RawDomain) -> c_int,
        virDomainResume: fn(*mut RawDomain) -> c_int,
        virGetLastErrorCode: fn() -> c_int,
        virGetLastErrorMessage: fn() -> *const c_char,
        virSetErrorFunc: fn(*mut c_void, ErrorFunction),
    }
}

functions! {
    /// `libvirt/libvirt-qemu.h`.
    struct ForQemu {
        virDomainQemuMonitorCommand:
            fn(*mut RawDomain, *const c_char, *mut *mut c_char, c_uint) -> c_int,
        virDomainQemuAgentCommand:
            fn(*mut RawDomain, *const c_char, c_int, c_uint) -> *mut c_char,
    }
}

functions! {
    /// The same, since libvirt 8.2.
    struct ForQemuWithFiles {
        virDomainQemuMonitorCommandWithFiles: fn(
            *mut RawDomain,
            *const c_char,
            c_uint,
            *mut c_int,
            *mut c_uint,
            *mut *mut c_int,
            *mut *mut c_char,
            c_uint
        ) -> c_int,
    }
}

/// libvirt's library.
#[derive(Debug)]
pub(super) struct Libvirt {
    core: Core,
    for_qemu: ForQemu,
    with_files: Option<ForQemuWithFiles>,
}

/// What went wrong in libvirt.
#[derive(Debug)]
pub(super) struct Error {
    /// `virErrorNumber`.
    pub code: ErrorCode,
    /// In libvirt's words.
    pub message: String,
}

/// The error numbers that make a difference here (`libvirt/virterror.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorCode {
    NoDomain,
    AuthFailed,
    AccessDenied,
    Other,
}

impl From<c_int> for ErrorCode {
    fn from(code: c_int) -> Self {
        match code {
            42 => Self::NoDomain,
            45 => Self::AuthFailed,
            88 => Self::AccessDenied,
            _ => Self::Other,
        }
    }
}

impl Libvirt {
    /// The library, loaded when this is first called.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded.
    pub fn get() -> Result<&'static Self, &'static str> {
        static LOADED: OnceLock<Result<Libvirt, String>> = OnceLock::new();
        LOADED.get_or_init(|| Self::load(FILES)).as_ref().map_err(String::as_str)
    }

    fn load(files: [&str; 2]) -> Result<Self, String> {
        // That loading has failed is said by the error, why by its source.
        let reason =
            |e: libloading::Error| e.source().map_or_else(|| e.to_string(), <_>::to_string);
        Self::open(files).map_err(reason)
    }

    fn open([core, for_qemu]: [&str; 2]) -> Result<Self, libloading::Error> {
        // SAFETY: libvirt's libraries, which are made to be loaded so, by the
        // names that no other library has. Neither is ever unloaded.
        let loaded = unsafe {
            let (core, again) = (Library::new(core)?, Library::new(for_qemu)?);
            let for_qemu = Library::new(for_qemu)?;
            Self {
                core: Core::of(core)?,
                for_qemu: ForQemu::of(for_qemu)?,
                with_files: ForQemuWithFiles::of(again).ok(),
            }
        };
        extern "C" fn silent(_: *mut c_void, _: *mut c_void) {}
        // The default prints every error to standard error.
        // SAFETY: the function can be called from any thread at any time.
        unsafe { (loaded.core.virSetErrorFunc)(ptr::null_mut(), silent) };
        Ok(loaded)
    }

    /// Connects to `uri`.
    pub fn connect(&'static self, uri: &str) -> Result<Connection, Error> {
        let uri = text(uri)?;
        // SAFETY: the text ends with a NUL.
        let raw = unsafe { (self.core.virConnectOpen)(uri.as_ptr()) };
        Ok(Connection { raw: self.some(raw)?, libvirt: self })
    }

    /// What this thread's last call returned, where that is no null pointer.
    fn some<T>(&self, returned: *mut T) -> Result<NonNull<T>, Error> {
        NonNull::new(returned).ok_or_else(|| self.error())
    }

    /// The same, where that is not negative.
    fn number(&self, returned: c_int) -> Result<c_int, Error> {
        if returned < 0 { Err(self.error()) } else { Ok(returned) }
    }

    /// What went wrong in this thread's last call.
    fn error(&self) -> Error {
        // SAFETY: libvirt returns a text that it keeps until this thread's next
        // call; it is copied.
        let (code, message) = unsafe {
            let message = (self.core.virGetLastErrorMessage)();
            let message = (!message.is_null()).then(|| CStr::from_ptr(message));
            ((self.core.virGetLastErrorCode)(), message.unwrap_or_default())
        };
        Error { code: code.into(), message: message.to_string_lossy().into_owned() }
    }
}

/// A connection to a daemon of libvirt's, closed when dropped. Its domains keep
/// it open.
#[derive(Debug)]
pub(super) struct Connection {
    raw: NonNull<RawConnection>,
    libvirt: &'static Libvirt,
}

impl Connection {
    /// The domain with this name.
    pub fn domain_named(&self, name: &str) -> Result<Domain, Error> {
        let name = text(name)?;
        // SAFETY: the connection is open, the text ends with a NUL.
        let raw =
            unsafe { (self.libvirt.core.virDomainLookupByName)(self.raw.as_ptr(), name.as_ptr()) };
        Ok(Domain { raw: self.libvirt.some(raw)?, libvirt: self.libvirt })
    }

    /// The domain with this UUID.
    pub fn domain_of_uuid(&self, uuid: &str) -> Result<Domain, Error> {
        let uuid = text(uuid)?;
        // SAFETY: the connection is open, the text ends with a NUL.
        let raw = unsafe {
            (self.libvirt.core.virDomainLookupByUUIDString)(self.raw.as_ptr(), uuid.as_ptr())
        };
        Ok(Domain { raw: self.libvirt.some(raw)?, libvirt: self.libvirt })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is open and used no more.
        unsafe { (self.libvirt.core.virConnectClose)(self.raw.as_ptr()) };
    }
}

/// A domain.
#[derive(Debug)]
pub(super) struct Domain {
    raw: NonNull<RawDomain>,
    libvirt: &'static Libvirt,
}

// SAFETY: libvirt locks what its objects hold: they may be used by any thread,
// and by several (<https://libvirt.org/formatting.html>, `virObjectLockable`).
unsafe impl Send for Domain {}
// SAFETY: as above.
unsafe impl Sync for Domain {}

impl Domain {
    /// Its name.
    pub fn name(&self) -> Result<String, Error> {
        // SAFETY: the domain is not freed yet, and with it the text, which is
        // copied.
        let name = unsafe {
            let name = (self.libvirt.core.virDomainGetName)(self.raw.as_ptr());
            CStr::from_ptr(self.libvirt.some(name.cast_mut())?.as_ptr())
        };
        Ok(name.to_string_lossy().into_owned())
    }

    /// Its UUID, with hyphens.
    pub fn uuid(&self) -> Result<String, Error> {
        let mut text = [0_u8; UUID_TEXT_LEN];
        // SAFETY: the text has the length that the function fills.
        let done = unsafe {
            (self.libvirt.core.virDomainGetUUIDString)(self.raw.as_ptr(), text.as_mut_ptr().cast())
        };
        self.libvirt.number(done)?;
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
        Ok(text.to_string_lossy().into_owned())
    }

    /// Its `virDomainState`.
    pub fn state(&self) -> Result<c_int, Error> {
        let mut state = 0;
        // SAFETY: the state is written to where it is; no reason is wanted.
        let done = unsafe {
            (self.libvirt.core.virDomainGetState)(
                self.raw.as_ptr(),
                &raw mut state,
                ptr::null_mut(),
                0,
            )
        };
        self.libvirt.number(done).map(|_| state)
    }

    /// Whether it runs or is paused.
    pub fn is_active(&self) -> Result<bool, Error> {
        // SAFETY: the domain is not freed yet.
        let active = unsafe { (self.libvirt.core.virDomainIsActive)(self.raw.as_ptr()) };
        self.libvirt.number(active).map(|active| active != 0)
    }

    /// Stops its vCPUs.
    pub fn suspend(&self) -> Result<(), Error> {
        // SAFETY: the domain is not freed yet.
        let done = unsafe { (self.libvirt.core.virDomainSuspend)(self.raw.as_ptr()) };
        self.libvirt.number(done).map(drop)
    }

    /// Continues them.
    pub fn resume(&self) -> Result<(), Error> {
        // SAFETY: the domain is not freed yet.
        let done = unsafe { (self.libvirt.core.virDomainResume)(self.raw.as_ptr()) };
        self.libvirt.number(done).map(drop)
    }

    /// Runs a QMP command and returns the answer.
    pub fn monitor_command(&self, command: &str) -> Result<String, Error> {
        let command = text(command)?;
        let mut answer = ptr::null_mut();
        // SAFETY: the text ends with a NUL; the answer is written to where it is.
        let done = unsafe {
            (self.libvirt.for_qemu.virDomainQemuMonitorCommand)(
                self.raw.as_ptr(),
                command.as_ptr(),
                &raw mut answer,
                0,
            )
        };
        self.libvirt.number(done)?;
        self.taken(answer)
    }

    /// Runs a QMP command that QEMU gets a descriptor with.
    pub fn monitor_command_with(&self, command: &str, fd: BorrowedFd<'_>) -> Result<String, Error> {
        let missing = "it passes no descriptors on to QEMU";
        let missing = || Error { code: ErrorCode::Other, message: missing.to_owned() };
        let functions = self.libvirt.with_files.as_ref().ok_or_else(missing)?;
        let command = text(command)?;
        let (mut fd, mut answer) = (fd.as_raw_fd(), ptr::null_mut());
        // SAFETY: the text ends with a NUL; one descriptor is given, which is
        // open, and none is wanted back; the answer is written to where it is.
        let done = unsafe {
            (functions.virDomainQemuMonitorCommandWithFiles)(
                self.raw.as_ptr(),
                command.as_ptr(),
                1,
                &raw mut fd,
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut answer,
                0,
            )
        };
        self.libvirt.number(done)?;
        self.taken(answer)
    }

    /// Runs a command of the guest agent, for some seconds at most, and returns
    /// the answer.
    pub fn agent_command(&self, command: &str, seconds: c_int) -> Result<String, Error> {
        let command = text(command)?;
        // SAFETY: the text ends with a NUL.
        let answer = unsafe {
            (self.libvirt.for_qemu.virDomainQemuAgentCommand)(
                self.raw.as_ptr(),
                command.as_ptr(),
                seconds,
                0,
            )
        };
        self.taken(answer)
    }

    /// A text that was made for us.
    fn taken(&self, answer: *mut c_char) -> Result<String, Error> {
        let answer = self.libvirt.some(answer)?;
        // SAFETY: libvirt has made the text for its caller, who frees it.
        unsafe {
            let text = CStr::from_ptr(answer.as_ptr()).to_string_lossy().into_owned();
            libc::free(answer.as_ptr().cast());
            Ok(text)
        }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: it is used no more.
        unsafe { (self.libvirt.core.virDomainFree)(self.raw.as_ptr()) };
    }
}

/// A text as libvirt takes it.
fn text(text: &str) -> Result<CString, Error> {
    let zero = |_| Error { code: ErrorCode::Other, message: format!("{text:?} holds a NUL") };
    CString::new(text).map_err(zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_missing_is_named() {
        let files = ["libvirt-of-nowhere.so.0", FILES[1]];
        let error = Libvirt::load(files).unwrap_err();
        assert!(error.contains(files[0]), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn what_libvirt_says_is_told() {
        let libvirt = Libvirt::get().unwrap();
        let error = libvirt.connect("qemu:///session?socket=/nowhere/sock").unwrap_err();
        assert!(error.message.contains("/nowhere/sock"), "{error:?}");
        let test = libvirt.connect("test:///default").unwrap();
        let error = test.domain_named("none").unwrap_err();
        assert_eq!(error.code, ErrorCode::NoDomain, "{error:?}");
        assert_eq!(error.message, "Domain not found");
        let domain = test.domain_named("test").unwrap();
        // The domain keeps the connection.
        drop(test);
        assert_eq!(domain.name().unwrap(), "test");
        assert_eq!(domain.uuid().unwrap(), "6695eb01-f6a4-8304-79aa-97f2502e193f");
        assert!(domain.is_active().unwrap());
        domain.suspend().unwrap();
        assert_eq!(domain.state().unwrap(), 3);
        domain.resume().unwrap();
        assert_eq!(domain.state().unwrap(), 1);
        assert!(domain.monitor_command("{}").unwrap_err().message.contains("not supported"));
        assert!(domain.name().unwrap() == "test" && text("a\0b").is_err());
    }
}
