import CWireProtocol

/// What a request asks for; the numbers are those of `enum gpuvm_opcode`.
public enum Opcode: UInt16, CaseIterable, Sendable {
    case hello = 1

    case boCreate = 16
    case boImport = 17
    case boExport = 18
    case boInfo = 19
    case boClose = 20

    case vmCreate = 32
    case vmClose = 33
    case vmBind = 34

    case queueCreate = 48
    case queueClose = 49
    case queueInfo = 50
    case exec = 51

    case syncobjCreate = 64
    case syncobjDestroy = 65
    case syncobjSignal = 66
    case syncobjReset = 67
    case syncobjQuery = 68
    case syncobjTransfer = 69
    case syncobjWait = 70
    case syncobjExport = 71
    case syncobjImport = 72
    case syncobjEventfd = 73

    case status = 96
    case clientList = 97
    case vmList = 98
    case vmShow = 99
    case vmWalk = 100
    case fenceInfo = 101
    case faultList = 102
    case queueList = 103
    case memoryInfo = 104
    case boList = 105
    case drmInfo = 106
    case drmCounts = 110
    case drmFileList = 111
    case vmSparse = 112
    case vmTables = 113

    case inject = 120
    case injectClear = 121
    case injectList = 122
    case injectFirings = 123

    /// The shape of one direction's message.
    public struct Shape: Equatable, Sendable {
        /// The size of the fixed struct, in bytes.
        public let fixedBytes: Int
        /// Whether arrays, which the struct counts, may follow it.
        public let hasArrays: Bool
        /// How many descriptors travel with it, the memfd of an external message not counted.
        public let fds: ClosedRange<Int>

        static let empty = Shape(fixedBytes: 0, hasArrays: false, fds: 0...0)

        static func fixed<T>(_ type: T.Type, fds: ClosedRange<Int> = 0...0) -> Shape {
            Shape(fixedBytes: MemoryLayout<T>.size, hasArrays: false, fds: fds)
        }

        static func arrays<T>(_ type: T.Type) -> Shape {
            Shape(fixedBytes: MemoryLayout<T>.size, hasArrays: true, fds: 0...0)
        }

        static func fds(_ count: ClosedRange<Int>) -> Shape {
            Shape(fixedBytes: 0, hasArrays: false, fds: count)
        }
    }

    /// The shapes of the request and of the reply without an error: the one table that daemon and
    /// client check every message against.
    public var shapes: (request: Shape, reply: Shape) {
        switch self {
        case .hello: (.fixed(gpuvm_hello.self), .fixed(gpuvm_hello_reply.self, fds: 1...1))

        case .boCreate: (.fixed(gpuvm_bo_create.self), .fixed(gpuvm_bo_reply.self, fds: 0...1))
        case .boImport: (.fixed(gpuvm_bo_import.self, fds: 1...1), .fixed(gpuvm_bo_reply.self))
        case .boExport: (.fixed(gpuvm_handle.self), .fds(1...1))
        case .boInfo: (.fixed(gpuvm_handle.self), .fixed(gpuvm_bo_info_reply.self))
        case .boClose: (.fixed(gpuvm_handle.self), .empty)

        case .vmCreate: (.fixed(gpuvm_vm_create.self), .fixed(gpuvm_handle_reply.self))
        case .vmClose: (.fixed(gpuvm_handle.self), .empty)
        case .vmBind: (.arrays(gpuvm_vm_bind.self), .arrays(gpuvm_vm_bind_reply.self))

        case .queueCreate: (.fixed(gpuvm_queue_create.self), .fixed(gpuvm_handle_reply.self))
        case .queueClose: (.fixed(gpuvm_handle.self), .empty)
        case .queueInfo: (.fixed(gpuvm_handle.self), .fixed(gpuvm_queue_info_reply.self))
        case .exec: (.arrays(gpuvm_exec.self), .fixed(gpuvm_exec_reply.self))

        case .syncobjCreate:
            (.fixed(gpuvm_syncobj_create.self), .fixed(gpuvm_syncobj_reply.self, fds: 0...1))
        case .syncobjDestroy: (.fixed(gpuvm_handle.self), .empty)
        case .syncobjSignal, .syncobjReset: (.arrays(gpuvm_syncobj_array.self), .empty)
        case .syncobjQuery:
            (.arrays(gpuvm_syncobj_array.self), .arrays(gpuvm_syncobj_query_reply.self))
        case .syncobjTransfer: (.fixed(gpuvm_syncobj_transfer.self), .empty)
        case .syncobjWait:
            (.arrays(gpuvm_syncobj_wait.self), .fixed(gpuvm_syncobj_wait_reply.self))
        case .syncobjExport: (.fixed(gpuvm_syncobj_export.self), .fds(1...1))
        case .syncobjImport:
            (
                .fixed(gpuvm_syncobj_import.self, fds: 1...1),
                .fixed(gpuvm_syncobj_reply.self, fds: 0...1)
            )
        case .syncobjEventfd: (.fixed(gpuvm_syncobj_eventfd.self, fds: 1...1), .empty)

        case .status: (.empty, .fixed(gpuvm_status_reply.self))
        case .clientList, .vmList, .vmShow, .faultList, .queueList, .boList, .drmCounts,
            .drmFileList, .vmSparse, .injectList, .injectFirings:
            (.fixed(gpuvm_page.self), .arrays(gpuvm_page_reply.self))
        case .memoryInfo: (.empty, .fixed(gpuvm_memory_info_reply.self))
        case .drmInfo: (.empty, .fixed(gpuvm_drm_info_reply.self))
        case .vmWalk: (.fixed(gpuvm_vm_walk.self), .fixed(gpuvm_vm_walk_reply.self))
        case .vmTables: (.fixed(gpuvm_vm_tables.self), .arrays(gpuvm_vm_tables_reply.self))
        case .inject: (.fixed(gpuvm_injection.self), .fixed(gpuvm_injection_reply.self))
        case .injectClear: (.fixed(gpuvm_handle.self), .fixed(gpuvm_injection_clear_reply.self))
        case .fenceInfo: (.fixed(gpuvm_fence_info.self), .fixed(gpuvm_fence_info_reply.self))
        }
    }
}

extension Opcode: CustomStringConvertible {
    /// The name in the protocol's header, such as "VM_BIND".
    public var description: String {
        switch self {
        case .hello: "HELLO"
        case .boCreate: "BO_CREATE"
        case .boImport: "BO_IMPORT"
        case .boExport: "BO_EXPORT"
        case .boInfo: "BO_INFO"
        case .boClose: "BO_CLOSE"
        case .vmCreate: "VM_CREATE"
        case .vmClose: "VM_CLOSE"
        case .vmBind: "VM_BIND"
        case .queueCreate: "QUEUE_CREATE"
        case .queueClose: "QUEUE_CLOSE"
        case .queueInfo: "QUEUE_INFO"
        case .exec: "EXEC"
        case .syncobjCreate: "SYNCOBJ_CREATE"
        case .syncobjDestroy: "SYNCOBJ_DESTROY"
        case .syncobjSignal: "SYNCOBJ_SIGNAL"
        case .syncobjReset: "SYNCOBJ_RESET"
        case .syncobjQuery: "SYNCOBJ_QUERY"
        case .syncobjTransfer: "SYNCOBJ_TRANSFER"
        case .syncobjWait: "SYNCOBJ_WAIT"
        case .syncobjExport: "SYNCOBJ_EXPORT"
        case .syncobjImport: "SYNCOBJ_IMPORT"
        case .syncobjEventfd: "SYNCOBJ_EVENTFD"
        case .status: "STATUS"
        case .clientList: "CLIENT_LIST"
        case .vmList: "VM_LIST"
        case .vmShow: "VM_SHOW"
        case .vmWalk: "VM_WALK"
        case .fenceInfo: "FENCE_INFO"
        case .faultList: "FAULT_LIST"
        case .queueList: "QUEUE_LIST"
        case .memoryInfo: "MEMORY_INFO"
        case .drmInfo: "DRM_INFO"
        case .drmCounts: "DRM_COUNTS"
        case .drmFileList: "DRM_FILE_LIST"
        case .vmSparse: "VM_SPARSE"
        case .vmTables: "VM_TABLES"
        case .boList: "BO_LIST"
        case .inject: "INJECT"
        case .injectClear: "INJECT_CLEAR"
        case .injectList: "INJECT_LIST"
        case .injectFirings: "INJECT_FIRINGS"
        }
    }
}
