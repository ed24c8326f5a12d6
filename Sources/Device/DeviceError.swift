import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables
import Scheduling

/// Why the device refused a request, which then has changed nothing.
public enum DeviceError: Error, Sendable {
    /// A number of the request is wrong: EINVAL.
    case invalid(String)
    /// A handle names nothing of this client: ENOENT.
    case noSuch(ObjectKind, handle: UInt32)
    /// The VM was closed or banned: ENOENT, as VM_BIND and EXEC answer.
    case vmUnusable(vm: UInt32, reason: String)
    /// The queue was banned after a fault or a time-out: ECANCELED.
    case queueBanned(queue: UInt32, errno: Int32)
    /// A quota of the client is used up.
    case quota(ClientQuota, limit: UInt64)
    /// The client may not do this: EPERM.
    case notPermitted(String)
    /// An operation of a bind array failed in the VA space.
    case bind(operation: Int, GPUVMError)
    /// An operation of a bind array and the sparse regions do not fit.
    case sparse(operation: Int, SparseConflict)
    /// The VA space itself could not be made.
    case space(GPUVMError)
    /// Memory could not be had.
    case memory(MemoryError)
    /// The page-table memory is used up: ENOSPC.
    case pageTables(PageTableError)
    /// A sync object refused.
    case fencing(FencingError)
    /// A failure that was injected on purpose, with its errno.
    case injected(errno: Int32, step: String)
    /// All rules of fault injection that may be are active: EAGAIN.
    case tooManyRules(limit: Int)

    /// What a handle names.
    public enum ObjectKind: String, Sendable {
        case buffer = "buffer object"
        case vm = "VM"
        case queue = "queue"
        case syncobj = "syncobj"
        case fence = "fence"
        case injection = "injection rule"
    }

    /// Which quota is used up.
    public enum ClientQuota: String, Sendable {
        case bufferBytes = "bytes in buffers"
        case buffers, vms, queues, syncobjs, mappings
        case tablePages = "page-table pages"
        case jobsInFlight = "jobs in flight"
        case operationsInFlight = "bind operations in flight"
    }

    /// The positive errno that a kernel driver would answer.
    public var errno: Int32 {
        switch self {
        case .invalid: EINVAL
        case .noSuch, .vmUnusable: ENOENT
        case .queueBanned: ECANCELED
        case .quota(.bufferBytes, _): ENOMEM
        case .quota(.jobsInFlight, _), .quota(.operationsInFlight, _): EAGAIN
        case .quota: ENOSPC
        case .notPermitted: EPERM
        case .bind(_, let error): error.errno
        case .sparse(_, let conflict): conflict.errno
        case .space(let error): error.errno
        case .memory(let error): error.errno
        case .pageTables(let error): error.errno
        case .fencing(let error): error.errno
        case .injected(let errno, _): errno
        case .tooManyRules: EAGAIN
        }
    }
}

extension DeviceError: CustomStringConvertible {
    /// What, where, why, and what to do.
    public var description: String {
        switch self {
        case .invalid(let text): text
        case .noSuch(.injection, let id):
            "no injection rule has the id \(id): `gpuvmctl inject list` shows those that there are"
        case .noSuch(let kind, let handle):
            "no \(kind.rawValue) with handle \(handle): it was closed, or is another client's"
        case .vmUnusable(let vm, let reason): "VM \(vm) \(reason)"
        case .queueBanned(let queue, let errno):
            """
            queue \(queue) was banned (errno \(errno)) after a fault or a time-out; \
            close it and make another
            """
        case .quota(let quota, let limit):
            "the client's quota of \(quota.rawValue) is used up (\(limit))"
        case .notPermitted(let text): text
        case .bind(let operation, let error): "operation \(operation): \(error)"
        case .sparse(let operation, let conflict): "operation \(operation): \(conflict.text)"
        case .space(let error): "\(error)"
        case .memory(let error): "\(error)"
        case .pageTables(let error): "page tables: \(error)"
        case .fencing(let error): "\(error)"
        case .injected(let errno, let step): "failure injected at step “\(step)”, errno \(errno)"
        case .tooManyRules(let limit):
            "\(limit) injection rules are active: `gpuvmctl inject clear ID` forgets one"
        }
    }
}
