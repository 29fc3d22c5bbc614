//! The C API of `libchdb.so`, loaded at run time.
//!
//! Guarantee: everything `unsafe` of this crate is in this file, and what it exports can be used
//! only as the engine allows: a [`Handle`] belongs to one thread and runs one statement at a time
//! (a stream borrows it, because a second query on a streaming handle answers *empty, without an
//! error*); every result is freed; a handle is closed when it is dropped.
//!
//! It is deliberately not a ClickHouse client: no SQL is made here and no error is interpreted.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

type RawConnection = *mut c_void;
type RawResult = *mut c_void;
type QueryFn = unsafe extern "C" fn(
    RawConnection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> RawResult;

/// The functions that we use, of a library that stays loaded until the process ends.
pub(super) struct Api {
    set_signal_handlers_enabled: unsafe extern "C" fn(c_int),
    connect: unsafe extern "C" fn(c_int, *const *const c_char) -> *mut RawConnection,
    close: unsafe extern "C" fn(*mut RawConnection),
    query: QueryFn,
    stream_query: QueryFn,
    stream_fetch: unsafe extern "C" fn(RawConnection, RawResult) -> RawResult,
    stream_cancel: unsafe extern "C" fn(RawConnection, RawResult),
    destroy_result: unsafe extern "C" fn(RawResult),
    result_buffer: unsafe extern "C" fn(RawResult) -> *const u8,
    result_length: unsafe extern "C" fn(RawResult) -> usize,
    result_error: unsafe extern "C" fn(RawResult) -> *const c_char,
    result_rows: unsafe extern "C" fn(RawResult) -> u64,
    result_rows_written: unsafe extern "C" fn(RawResult) -> u64,
}

static API: OnceLock<Api> = OnceLock::new();

/// How many connections are open in this process, and how many ever were.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static OPENED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    /// glibc: as `atexit`, but the handler is told the status.
    safe fn on_exit(
        handler: extern "C" fn(status: c_int, arg: *mut c_void),
        arg: *mut c_void,
    ) -> c_int;
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process before the library's destructors run, if the engine is still at work: they pull
/// its data away from under its threads, and the process hangs or crashes. To the directory this is
/// a kill, which it survives. After a clean close there is nothing to do.
extern "C" fn leave_without_destructors(status: c_int, _: *mut c_void) {
    if OPEN.load(Ordering::Acquire) > 0 {
        _exit(status);
    }
}

/// Loads the library once per process; later calls return what the first one loaded.
pub(super) fn load(path: &Path) -> Result<&'static Api, libloading::Error> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let api = load_symbols(path)?;
    // SAFETY: a plain C function without preconditions; it must come before the first `connect`,
    // and nobody can connect without an `Api`. Otherwise the engine takes SIGTERM and SIGSEGV over.
    unsafe { (api.set_signal_handlers_enabled)(0) };
    Ok(API.get_or_init(|| api))
}

fn load_symbols(path: &Path) -> Result<Api, libloading::Error> {
    // SAFETY: the file is the pinned engine or one that the operator named; its initialisers are
    // those of an ordinary C++ library. It is never unloaded: its threads outlive every handle.
    let lib = Box::leak(Box::new(unsafe { libloading::Library::new(path) }?));
    macro_rules! symbol {
        ($name:literal) => {
            // SAFETY: the signatures are those of chdb.h 26.5.
            *unsafe { lib.get($name) }?
        };
    }
    Ok(Api {
        set_signal_handlers_enabled: symbol!(b"chdb_set_signal_handlers_enabled\0"),
        connect: symbol!(b"chdb_connect\0"),
        close: symbol!(b"chdb_close_conn\0"),
        query: symbol!(b"chdb_query_with_params_n\0"),
        stream_query: symbol!(b"chdb_stream_query_with_params_n\0"),
        stream_fetch: symbol!(b"chdb_stream_fetch_result\0"),
        stream_cancel: symbol!(b"chdb_stream_cancel_query\0"),
        destroy_result: symbol!(b"chdb_destroy_query_result\0"),
        result_buffer: symbol!(b"chdb_result_buffer\0"),
        result_length: symbol!(b"chdb_result_length\0"),
        result_error: symbol!(b"chdb_result_error\0"),
        result_rows: symbol!(b"chdb_result_rows_read\0"),
        result_rows_written: symbol!(b"chdb_result_rows_written\0"),
    })
}

/// A statement with its output format and its `{name:Type}` parameters.
#[derive(Clone, Copy, Default)]
pub(super) struct Statement<'a> {
    pub sql: &'a [u8],
    pub format: &'a str,
    pub params: &'a [(String, String)],
}

/// One buffer of output.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub data: Bytes,
    pub rows: u64,
    pub rows_written: u64,
}

/// One connection. `!Send`: it is opened, used and closed by one thread.
pub(super) struct Handle {
    api: &'static Api,
    raw: NonNull<RawConnection>,
}

impl Handle {
    /// Opens a connection; the first one in the process starts the engine with these arguments.
    pub fn connect(api: &'static Api, args: &[CString]) -> Option<Handle> {
        let argv: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
        let argc = c_int::try_from(argv.len()).ok()?;
        // SAFETY: `argv` holds `argc` NUL-terminated strings that live across the call; the engine
        // copies them.
        let raw = unsafe { (api.connect)(argc, argv.as_ptr()) };
        NonNull::new(raw).map(|raw| {
            OPEN.fetch_add(1, Ordering::AcqRel);
            // Handlers run in reverse order, and the engine registers destructors whenever it first
            // uses something: ours is registered behind them again, ever more rarely.
            if (OPENED.fetch_add(1, Ordering::AcqRel) + 1).is_power_of_two() {
                on_exit(leave_without_destructors, ptr::null_mut());
            }
            Handle { api, raw }
        })
    }

    /// Runs a statement to its end and returns the whole output.
    pub fn query(&mut self, statement: Statement<'_>) -> Result<Output, String> {
        let result = self.call(self.api.query, statement)?;
        result.into_output()
    }

    /// Starts a `SELECT` whose output comes in chunks.
    pub fn stream(&mut self, statement: Statement<'_>) -> Result<Stream<'_>, String> {
        let result = self.call(self.api.stream_query, statement)?;
        if let Some(error) = result.error() {
            return Err(error);
        }
        Ok(Stream { api: self.api, raw: self.raw, result, running: true, _handle: PhantomData })
    }

    fn call(&self, function: QueryFn, statement: Statement<'_>) -> Result<RawOutput, String> {
        let Statement { sql, format, params } = statement;
        let names: Vec<_> = params.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let name_lens: Vec<_> = params.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = params.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let value_lens: Vec<_> = params.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: the connection is open (closed only by `drop`) and runs nothing else (`&mut self`
        // above); every pointer comes with its length and outlives the call.
        let raw = unsafe {
            function(
                *self.raw.as_ptr(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lens.as_ptr(),
                values.as_ptr(),
                value_lens.as_ptr(),
                params.len(),
            )
        };
        RawOutput::new(self.api, raw)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: opened by `connect`, closed once, and no stream borrows it any more.
        unsafe { (self.api.close)(self.raw.as_ptr()) };
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a fetch after the end of a one-chunk result answers instead of an empty chunk.
const NO_ACTIVE_STREAM: &str = "No active streaming query";

/// A `SELECT` under way. Dropped before its end, it is cancelled.
pub(super) struct Stream<'h> {
    api: &'static Api,
    raw: NonNull<RawConnection>,
    result: RawOutput,
    running: bool,
    _handle: PhantomData<&'h mut Handle>,
}

impl Stream<'_> {
    /// The next chunk, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Output>, String> {
        if !self.running {
            return Ok(None);
        }
        // Whatever goes wrong below, the engine has ended the query: nothing is left to cancel.
        self.running = false;
        let chunk = self.fetch()?;
        if chunk.rows > 0 {
            self.running = true;
            return Ok(Some(chunk));
        }
        // No rows: the end, or a header alone. Only the engine knows, so it is asked once more; a
        // result of one chunk then answers with an error that is none.
        match self.fetch() {
            Err(message) if message == NO_ACTIVE_STREAM => {}
            Err(message) => return Err(message),
            Ok(more) if more.rows == 0 => {}
            Ok(_) => return Err("the engine went on after the end of a stream".into()),
        }
        Ok((!chunk.data.is_empty()).then_some(chunk))
    }

    fn fetch(&mut self) -> Result<Output, String> {
        // SAFETY: both pointers are live for as long as `self` is; fetches are serial (`&mut`).
        let raw = unsafe { (self.api.stream_fetch)(*self.raw.as_ptr(), self.result.ptr.as_ptr()) };
        RawOutput::new(self.api, raw)?.into_output()
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if self.running {
            // SAFETY: as in `next`; the result itself is freed by `RawOutput`, after this.
            unsafe { (self.api.stream_cancel)(*self.raw.as_ptr(), self.result.ptr.as_ptr()) };
        }
    }
}

/// Owns a result of the library.
struct RawOutput {
    api: &'static Api,
    ptr: NonNull<c_void>,
}

impl RawOutput {
    fn new(api: &'static Api, raw: RawResult) -> Result<RawOutput, String> {
        let ptr = NonNull::new(raw).ok_or("the engine returned no result")?;
        Ok(RawOutput { api, ptr })
    }

    fn error(&self) -> Option<String> {
        // SAFETY: the result is live; the message belongs to it and is copied here.
        let message = unsafe { (self.api.result_error)(self.ptr.as_ptr()) };
        if ptr::eq(message, ptr::null()) {
            return None;
        }
        // SAFETY: not null, so it is NUL-terminated text owned by the result.
        Some(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
    }

    fn into_output(self) -> Result<Output, String> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        let raw = self.ptr.as_ptr();
        // SAFETY: the result is live and holds no error (the counters of a failed one are not
        // initialised); buffer and length describe the same memory, copied before it is freed.
        unsafe {
            let (start, len) = ((self.api.result_buffer)(raw), (self.api.result_length)(raw));
            let data = if start.is_null() || len == 0 {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(std::slice::from_raw_parts(start, len))
            };
            let rows = (self.api.result_rows)(raw);
            let rows_written = (self.api.result_rows_written)(raw);
            Ok(Output { data, rows, rows_written })
        }
    }
}

impl Drop for RawOutput {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { (self.api.destroy_result)(self.ptr.as_ptr()) };
    }
}
