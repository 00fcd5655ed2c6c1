//! SQLite's virtual file system over [`Pages`], and the few calls that rusqlite does not offer. All of the project's
//! `unsafe` is here.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use offprint_protocol::{PAGE_SIZE, Page, PageNo};
use rusqlite::{Connection, OpenFlags, ffi};

use crate::pages::Pages;

const NAME: &CStr = c"offprint";
/// The Julian day 1970-01-01T00:00 in milliseconds.
const UNIX_EPOCH: i64 = 210_866_760_000_000;

/// Opens a connection to the page store; only the one opened for writing may write, and there is one at a time.
pub(crate) fn connect(pages: &Arc<Mutex<Pages>>, write: bool) -> rusqlite::Result<Connection> {
    register()?;
    let waiting = Waiting::new(pages);
    let access = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(waiting.0.to_string(), flags, NAME)
}

/// Locks the page store; a panic elsewhere does not make it unusable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether constraints that are checked at COMMIT are violated at the moment.
pub(crate) fn has_deferred_violations(sqlite: &Connection) -> bool {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is open for as long as `sqlite` is borrowed, and both out pointers are valid for the call.
    let code = unsafe {
        ffi::sqlite3_db_status(
            sqlite.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut current,
            &raw mut highest,
            0,
        )
    };
    code != ffi::SQLITE_OK || current != 0
}

/// Makes `last_insert_rowid()` what it is on a fresh connection.
pub(crate) fn forget_last_insert_rowid(sqlite: &Connection) {
    // SAFETY: the handle is open for as long as `sqlite` is borrowed.
    unsafe { ffi::sqlite3_set_last_insert_rowid(sqlite.handle(), 0) };
}

/// How many bytes all of SQLite in this process has taken.
pub(crate) fn memory_used() -> u64 {
    // SAFETY: it takes no pointer and may be called from any thread.
    u64::try_from(unsafe { ffi::sqlite3_memory_used() }).unwrap_or(0)
}

thread_local! {
    // SQLite asks a VFS for the time without naming a file, always on the thread that runs the statement.
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// What the clock shows to statements on this thread, in milliseconds since 1970; `None` refuses to tell.
pub(crate) fn set_clock(now: Option<u64>) {
    NOW.set(now);
    ASKED.set(false);
}

/// Whether a statement asked for the time, and was refused, since [`set_clock`].
pub(crate) fn clock_was_asked() -> bool {
    ASKED.get()
}

/// Page stores that a connection is being opened to, by file name.
static WAITING: Mutex<Names> = Mutex::new(Names { last: 0, pages: BTreeMap::new() });

struct Names {
    last: u64,
    pages: BTreeMap<u64, Arc<Mutex<Pages>>>,
}

struct Waiting(u64);

impl Waiting {
    fn new(pages: &Arc<Mutex<Pages>>) -> Self {
        let mut names = lock(&WAITING);
        names.last += 1;
        let name = names.last;
        names.pages.insert(name, Arc::clone(pages));
        Self(name)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&WAITING).pages.remove(&self.0);
    }
}

fn register() -> rusqlite::Result<()> {
    static RESULT: OnceLock<c_int> = OnceLock::new();
    let code = *RESULT.get_or_init(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 64,
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the VFS and its name live for ever, and its functions keep SQLite's contract.
        unsafe { ffi::sqlite3_vfs_register(vfs, 0) }
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// What SQLite allocates for an open file: `szOsFile` bytes, its own part first.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Counted in the `Arc` from `open` to `close`.
    pages: *const Mutex<Pages>,
    write: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes; a null `pMethods` tells it that there is nothing to close.
    unsafe { (*file).pMethods = std::ptr::null() };
    // No journal and no temporary file: in memory they must be, or the store would not see one COMMIT.
    if name.is_null() || flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: a main database's name is NUL-terminated and outlives the call.
    let name = unsafe { CStr::from_ptr(name) };
    let number = name.to_str().ok().and_then(|name| name.parse().ok());
    let Some(pages) = number.and_then(|number: u64| lock(&WAITING).pages.get(&number).cloned()) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let opened = File {
        base: ffi::sqlite3_file { pMethods: &raw const METHODS },
        pages: Arc::into_raw(pages),
        write: flags & ffi::SQLITE_OPEN_READWRITE != 0,
    };
    // SAFETY: `file` is `szOsFile` bytes, aligned for pointers; `out_flags` may be null.
    unsafe {
        file.cast::<File>().write(opened);
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` wrote a `File` here and SQLite closes it once; this gives the count of `Arc::into_raw` back.
    unsafe { drop(Arc::from_raw((*file.cast::<File>()).pages)) };
    ffi::SQLITE_OK
}

/// The page store of a file that `open` made, locked.
///
/// # Safety
/// `file` is open, and stays so while the guard lives.
unsafe fn pages_of<'a>(file: *mut ffi::sqlite3_file) -> MutexGuard<'a, Pages> {
    // SAFETY: `open` wrote a `File` here whose `Arc` is counted until `close`, which cannot run before the guard's end.
    lock(unsafe { &*(*file.cast::<File>()).pages })
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: SQLite gives a buffer of `count` bytes, which nothing else touches during the call.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), count) };
    // SAFETY: SQLite calls with an open file.
    match unsafe { pages_of(file) }.read(offset, out) {
        Ok(done) if done == count => ffi::SQLITE_OK,
        Ok(done) => {
            out[done..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), usize::try_from(offset)) else {
        return ffi::SQLITE_FULL;
    };
    // SAFETY: SQLite gives `count` readable bytes that do not change during the call.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
    let (Ok(page), true) = (Page::from_slice(bytes), offset % PAGE_SIZE == 0) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    let Ok(no) = u32::try_from(offset / PAGE_SIZE + 1) else { return ffi::SQLITE_FULL };
    // SAFETY: SQLite calls with an open file.
    if unsafe { pages_of(file) }.stage(PageNo(no), page) { ffi::SQLITE_OK } else { ffi::SQLITE_FULL }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let Ok(page_count) = u32::try_from(size / PAGE_SIZE as i64) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: SQLite calls with an open file.
    unsafe { pages_of(file) }.stage_truncate(page_count);
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls with an open file and a valid out pointer.
    unsafe { *out = i64::from(pages_of(file).staged_page_count()) * PAGE_SIZE as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock_file(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock_file(file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    // SAFETY: SQLite calls with an open file, which `open` wrote.
    if unsafe { (*file.cast::<File>()).write } {
        // A commit was taken before this; what is left is of a transaction that was undone.
        // SAFETY: as above.
        unsafe { pages_of(file) }.discard_staged();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives a valid out pointer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, _arg: *mut c_void) -> c_int {
    if op == ffi::SQLITE_FCNTL_COMMIT_PHASETWO {
        // SAFETY: SQLite calls with an open file.
        unsafe { pages_of(file) }.take_staged();
        return ffi::SQLITE_OK;
    }
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    PAGE_SIZE as c_int
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE_NOENT
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a valid out pointer. No rollback journal or WAL ever exists.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    capacity: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(capacity).is_ok_and(|capacity| name.len() <= capacity) {
        // SAFETY: `out` has room for `capacity` bytes and SQLite's two strings do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
        return ffi::SQLITE_OK;
    }
    ffi::SQLITE_CANTOPEN
}

unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `out` has room for `count` bytes.
    unsafe { std::ptr::write_bytes(out, 0, usize::try_from(count).unwrap_or(0)) };
    count
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, _microseconds: c_int) -> c_int {
    0
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _capacity: c_int, _out: *mut c_char) -> c_int {
    0
}

fn julian_milliseconds() -> Option<i64> {
    let now = NOW.get().and_then(|now| i64::try_from(now).ok()).and_then(|now| now.checked_add(UNIX_EPOCH));
    if now.is_none() {
        ASKED.set(true);
    }
    now
}

unsafe extern "C" fn current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    let Some(now) = julian_milliseconds() else { return ffi::SQLITE_ERROR };
    // SAFETY: SQLite gives a valid out pointer.
    unsafe { *out = now };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let Some(now) = julian_milliseconds() else { return ffi::SQLITE_ERROR };
    // SAFETY: SQLite gives a valid out pointer.
    unsafe { *out = now as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}
