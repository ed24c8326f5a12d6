import CWireProtocol
import Testing
import WireProtocol

@Suite struct LayoutTests {
    @Test func opcodesAreThoseOfTheHeader() {
        let header: [(Opcode, gpuvm_opcode)] = [
            (.hello, GPUVM_HELLO), (.boCreate, GPUVM_BO_CREATE), (.boImport, GPUVM_BO_IMPORT),
            (.boExport, GPUVM_BO_EXPORT), (.boInfo, GPUVM_BO_INFO), (.boClose, GPUVM_BO_CLOSE),
            (.vmCreate, GPUVM_VM_CREATE), (.vmClose, GPUVM_VM_CLOSE), (.vmBind, GPUVM_VM_BIND),
            (.queueCreate, GPUVM_QUEUE_CREATE), (.queueClose, GPUVM_QUEUE_CLOSE),
            (.queueInfo, GPUVM_QUEUE_INFO), (.exec, GPUVM_EXEC),
            (.syncobjCreate, GPUVM_SYNCOBJ_CREATE), (.syncobjDestroy, GPUVM_SYNCOBJ_DESTROY),
            (.syncobjSignal, GPUVM_SYNCOBJ_SIGNAL), (.syncobjReset, GPUVM_SYNCOBJ_RESET),
            (.syncobjQuery, GPUVM_SYNCOBJ_QUERY), (.syncobjTransfer, GPUVM_SYNCOBJ_TRANSFER),
            (.syncobjWait, GPUVM_SYNCOBJ_WAIT), (.syncobjExport, GPUVM_SYNCOBJ_EXPORT),
            (.syncobjImport, GPUVM_SYNCOBJ_IMPORT), (.syncobjEventfd, GPUVM_SYNCOBJ_EVENTFD),
            (.status, GPUVM_STATUS), (.clientList, GPUVM_CLIENT_LIST), (.vmList, GPUVM_VM_LIST),
            (.vmShow, GPUVM_VM_SHOW), (.vmWalk, GPUVM_VM_WALK), (.fenceInfo, GPUVM_FENCE_INFO),
            (.faultList, GPUVM_FAULT_LIST), (.queueList, GPUVM_QUEUE_LIST),
            (.memoryInfo, GPUVM_MEMORY_INFO), (.boList, GPUVM_BO_LIST),
            (.drmInfo, GPUVM_DRM_INFO), (.drmCounts, GPUVM_DRM_COUNTS),
            (.drmFileList, GPUVM_DRM_FILE_LIST), (.vmSparse, GPUVM_VM_SPARSE),
            (.vmTables, GPUVM_VM_TABLES), (.inject, GPUVM_INJECT),
            (.injectClear, GPUVM_INJECT_CLEAR), (.injectList, GPUVM_INJECT_LIST),
            (.injectFirings, GPUVM_INJECT_FIRINGS),
        ]
        #expect(header.count == Opcode.allCases.count)
        for (opcode, number) in header {
            #expect(UInt32(opcode.rawValue) == number.rawValue)
            #expect(Set(header.map(\.0)).count == header.count)
        }
    }

    @Test func sizesOfTheTableAreMultiplesOfEight() {
        for opcode in Opcode.allCases {
            let shapes = opcode.shapes
            #expect(shapes.request.fixedBytes % 8 == 0, "\(opcode)")
            #expect(shapes.reply.fixedBytes % 8 == 0, "\(opcode)")
            #expect(shapes.request.fds.upperBound <= FDList.capacity)
        }
        #expect(FDList.capacity == Int(GPUVM_MAX_MESSAGE_FDS))
    }

    /// The sizes of protocol 1.0, written down when it was: no minor version changes one.
    @Test func structsOfTheFirstVersionKeepTheirSizes() {
        let sizes: [(Opcode, request: Int, reply: Int)] = [
            (.hello, 48, 88), (.boCreate, 56, 16), (.boImport, 40, 16), (.boExport, 8, 0),
            (.boInfo, 8, 64), (.boClose, 8, 0), (.vmCreate, 72, 8), (.vmClose, 8, 0),
            (.vmBind, 24, 24), (.queueCreate, 24, 8), (.queueClose, 8, 0), (.queueInfo, 8, 48),
            (.exec, 24, 16), (.syncobjCreate, 8, 8), (.syncobjDestroy, 8, 0),
            (.syncobjSignal, 8, 0), (.syncobjReset, 8, 0), (.syncobjQuery, 8, 8),
            (.syncobjTransfer, 40, 0), (.syncobjWait, 16, 8), (.syncobjExport, 16, 0),
            (.syncobjImport, 16, 8), (.syncobjEventfd, 16, 0), (.status, 0, 216),
            (.clientList, 16, 16), (.vmList, 16, 16), (.vmShow, 16, 16), (.vmWalk, 16, 152),
            (.fenceInfo, 16, 40), (.faultList, 16, 16), (.queueList, 16, 16),
        ]
        for (opcode, request, reply) in sizes {
            #expect(opcode.shapes.request.fixedBytes == request, "\(opcode)")
            #expect(opcode.shapes.reply.fixedBytes == reply, "\(opcode)")
        }
        let records: [(String, Int, Int)] = [
            ("client", MemoryLayout<gpuvm_client_record>.stride, 88),
            ("vm", MemoryLayout<gpuvm_vm_record>.stride, 200),
            ("va", MemoryLayout<gpuvm_va_record>.stride, 72),
            ("op", MemoryLayout<gpuvm_op_record>.stride, 112),
            ("fault", MemoryLayout<gpuvm_fault_record>.stride, 160),
            ("queue", MemoryLayout<gpuvm_queue_record>.stride, 64),
        ]
        for (name, stride, bytes) in records { #expect(stride == bytes, "\(name)") }
        // 1.1, 1.2 and 1.3 add these.
        #expect(
            Set(Opcode.allCases).subtracting(sizes.map(\.0)) == [
                .memoryInfo, .boList, .drmInfo, .drmCounts, .drmFileList, .vmSparse, .vmTables,
                .inject, .injectClear, .injectList, .injectFirings,
            ])
        #expect(Opcode.inject.shapes.request.fixedBytes == 120)
        #expect(Opcode.inject.shapes.reply.fixedBytes == 8)
        #expect(Opcode.injectClear.shapes.reply.fixedBytes == 8)
        #expect(MemoryLayout<gpuvm_injection_record>.stride == 160)
        #expect(MemoryLayout<gpuvm_injection_firing>.stride == 88)
        #expect(MemoryLayout<gpuvm_table_entry>.stride == 32)
        #expect(Opcode.drmInfo.shapes.reply.fixedBytes == 128)
        #expect(Opcode.memoryInfo.shapes.reply.fixedBytes == 128)
        #expect(MemoryLayout<gpuvm_bo_record>.stride == 120)
        #expect(GPUVM_PROTOCOL_MAJOR == 1 && GPUVM_PROTOCOL_MINOR == 3)
    }

    /// Bits of one field must not mean two things.
    @Test func flagsOfOneFieldDiffer() {
        let fields: [[UInt32]] = [
            [
                GPUVM_BO_LOCAL, GPUVM_BO_NO_CPU_ACCESS, GPUVM_BO_EVICTED, GPUVM_BO_WANTS_VRAM,
            ],
            [GPUVM_VM_IMMEDIATE, GPUVM_VM_WEAK_REFERENCES],
            [GPUVM_VM_BANNED, GPUVM_VM_CLOSED, GPUVM_VM_IS_IMMEDIATE, GPUVM_VM_IS_WEAK],
            [
                GPUVM_MAPPING_READ_ONLY, GPUVM_MAPPING_NULL, GPUVM_MAPPING_RESERVED,
                GPUVM_MAPPING_EVICTED,
            ],
            [
                GPUVM_CAP_VM_BIND, GPUVM_CAP_TIMELINE, GPUVM_CAP_EVENTFD, GPUVM_CAP_SPARSE,
                GPUVM_CAP_FENCE_PAGE, GPUVM_CAP_IMMEDIATE_MODE, GPUVM_CAP_WEAK_REFERENCES,
                GPUVM_CAP_EVICTION, GPUVM_CAP_INJECTION,
            ],
            [GPUVM_INJECT_NOW, GPUVM_INJECT_DELAY_SIGNAL, GPUVM_INJECT_HAS_ADDRESS],
            [
                GPUVM_INJECT_AT_GEM_NEW, GPUVM_INJECT_AT_GEM_IMPORT, GPUVM_INJECT_AT_VM_INIT,
                GPUVM_INJECT_AT_VM_BIND, GPUVM_INJECT_AT_CHANNEL_ALLOC, GPUVM_INJECT_AT_EXEC,
                GPUVM_INJECT_AT_SYNCOBJ_CREATE, GPUVM_INJECT_AT_MMAP,
            ],
            [
                GPUVM_FAULT_HAS_BELOW, GPUVM_FAULT_HAS_ABOVE, GPUVM_FAULT_HAS_LAST_OP,
                GPUVM_FAULT_IS_ORDERED, GPUVM_FAULT_IS_INCOMPLETE, GPUVM_FAULT_IS_INJECTED,
            ],
        ]
        for flags in fields {
            let all = flags.reduce(0, |)
            #expect(all.nonzeroBitCount == flags.count, "\(flags)")
            #expect(flags.allSatisfy { $0.nonzeroBitCount == 1 })
        }
    }

    @Test func namesAreUnique() {
        #expect(Set(Opcode.allCases.map(\.description)).count == Opcode.allCases.count)
    }
}
