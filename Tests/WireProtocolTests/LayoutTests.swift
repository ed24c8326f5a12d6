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

    @Test func namesAreUnique() {
        #expect(Set(Opcode.allCases.map(\.description)).count == Opcode.allCases.count)
    }
}
