import CWireProtocol
import Testing

@testable import gpuvmctl

/// What `fault list` says of what no access failed for.
@Suite struct FaultOutputTests {
    private func hazard() -> gpuvm_fault_record {
        var fault = gpuvm_fault_record()
        fault.id = 4
        fault.vm = 2
        fault.client_id = 7
        fault.queue = 5
        fault.engine_instance = 1
        fault.reason = GPUVM_FAULT_MISSING_BARRIER.rawValue
        fault.detail = GPUVM_HAZARD_READ_AFTER_WRITE.rawValue
        fault.address = 0x5000
        fault.command_address = 0x9040
        fault.last_op_address = 0x9010
        fault.last_op_range = 0x80
        fault.flags = GPUVM_FAULT_HAS_BELOW
        fault.below = gpuvm_mapping(address: 0x4000, range: 0x2000, offset: 0, bo: 9, flags: 0)
        return fault
    }

    @Test func aMissingBarrierNamesBothCopies() {
        var fault = hazard()
        let lines = FaultReport.lines(fault)
        #expect(lines[0] == "fault 4: missing barrier: read after write of [0x5000;0x5080]")
        #expect(
            lines[1] == """
                  the copy at 0x9040 reads what the copy at 0x9010 writes, and nothing orders them: \
                they may overlap
                """)
        #expect(
            lines[2] == "  VM 2, client 7, queue 5, engine copy1, command at 0x9040")
        #expect(lines[3] == "  below: [0x4000;0x6000] BO 9+0x0")
        #expect(lines.count == 5)
        fault.flags |= GPUVM_FAULT_IS_ORDERED | GPUVM_FAULT_IS_INCOMPLETE
        fault.detail = GPUVM_HAZARD_WRITE_AFTER_READ.rawValue
        let others = FaultReport.lines(fault)
        #expect(
            others[1] == """
                  the copy at 0x9040 writes what the copy at 0x9010 reads, and nothing orders them: \
                this GPU carries them out in order; another one need not
                """)
        #expect(others.last == "  not all copies of the job were compared")
    }

    @Test func aRefusedBindNamesItsBuffer() {
        var fault = gpuvm_fault_record()
        fault.id = 1
        fault.vm = 4
        fault.client_id = 8
        fault.reason = GPUVM_FAULT_BIND_REFUSED.rawValue
        fault.detail = 22
        fault.command_address = 0x8000
        fault.last_op_kind = GPUVM_BIND_MAP.rawValue
        fault.last_op_address = 0x10_0000
        fault.last_op_range = 0x4000
        fault.above = gpuvm_mapping(
            address: 0x10_0000, range: 0x4000, offset: 0x6000, bo: 3, flags: 0)
        #expect(
            FaultReport.lines(fault) == [
                """
                fault 1: bind refused with errno 22: MAP of [0x100000;0x104000] from 0x6000 of BO 3, \
                which has 0x8000 bytes
                """,
                "  VM 4, client 8",
                "  below: no mapping",
            ])
        // An operation without a buffer, and one of somebody else's.
        fault.command_address = 0
        #expect(
            FaultReport.lines(fault)[0]
                == "fault 1: bind refused with errno 22: MAP of [0x100000;0x104000]")
        fault.command_address = 0x8000
        fault.above.bo = GPUVM_FOREIGN_BO
        #expect(FaultReport.lines(fault)[0].contains("from 0x6000 of another client's BO, which"))
    }

    @Test func useOfFreedMemoryIsSaidToBeSo() {
        var fault = gpuvm_fault_record()
        fault.reason = GPUVM_FAULT_NOT_MAPPED.rawValue
        fault.flags = GPUVM_FAULT_HAS_LAST_OP
        fault.last_op_kind = GPUVM_BIND_UNMAP.rawValue
        #expect(
            FaultReport.lines(fault).last
                == "  so it is memory that was freed, and is used still")
        fault.last_op_kind = GPUVM_BIND_MAP.rawValue
        #expect(FaultReport.lines(fault).last?.hasPrefix("  last op: MAP") == true)
    }
}
