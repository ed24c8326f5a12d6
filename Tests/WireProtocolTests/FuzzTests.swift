import CPlatform
import CWireProtocol
import Glibc
import TestSupport
import Testing
import WireProtocol

/// The decoder under bytes that nobody meant.
@Suite struct FuzzTests {
    /// Reads a body the way a session does, by its opcode, to the end or to the first error.
    private func consume(_ decoded: Decoded) {
        decoded.body.withUnsafeBytes { raw in
            var reader = MessageReader(raw)
            do throws(WireError) {
                switch decoded.opcode {
                case .vmBind:
                    let bind = try reader.read(gpuvm_vm_bind.self)
                    let ops = try reader.readArray(
                        gpuvm_bind_op.self, count: bind.op_count, limit: 4096, "operations")
                    let waits = try reader.readArray(
                        gpuvm_sync.self, count: bind.wait_count, limit: 256, "waits")
                    let signals = try reader.readArray(
                        gpuvm_sync.self, count: bind.signal_count, limit: 256, "signals")
                    try reader.expectEnd()
                    let sum = ops.reduce(0) { $0 &+ $1.address }
                    let points = waits.reduce(sum) { $0 &+ $1.point }
                    #expect(signals.reduce(points) { $0 &+ $1.point } >= 0)
                case .syncobjWait:
                    let wait = try reader.read(gpuvm_syncobj_wait.self)
                    _ = try reader.readArray(
                        gpuvm_sync.self, count: wait.count, limit: 4096, "points")
                    try reader.expectEnd()
                case .hello:
                    _ = try WireName.decode(try reader.read(gpuvm_hello.self).name)
                default: break
                }
            } catch {
                #expect(error.code.rawValue > 0)
            }
        }
    }

    @Test(arguments: [UInt64(1), 0xfeed, 20_261_121])
    func randomBytes(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for iteration in 0..<4000 {
            let count = Int.random(in: 0...200, using: &random)
            var bytes = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            // Half of them have a right length, so that they get beyond the first check.
            if count >= 16 && Bool.random(using: &random) {
                bytes.replaceSubrange(0..<4, with: [UInt8(count), 0, 0, 0])
                bytes.replaceSubrange(5..<8, with: [0, 0, 0])
                bytes.replaceSubrange(12..<16, with: [0, 0, 0, 0])
            }
            do throws(DecodeFailure) {
                consume(try decode(bytes, as: iteration % 2 == 0 ? .request : .reply))
            } catch {
                #expect(error.error.code.rawValue > 0, "seed \(seed), iteration \(iteration)")
            }
        }
    }

    @Test(arguments: [UInt64(2), 0xbeef, 99_991])
    func mutatedMessages(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var bind = gpuvm_vm_bind(
            vm: 1, queue: 0, flags: 1, op_count: 3, wait_count: 2, signal_count: 1)
        bind.flags = GPUVM_VM_BIND_ASYNC
        var request = Request(.vmBind, bind)
        request.append([gpuvm_bind_op](repeating: gpuvm_bind_op(), count: 3))
        request.append([gpuvm_sync](repeating: gpuvm_sync(), count: 3))
        let valid = try request.finish(serial: 1).bytes
        var wait = Request(.syncobjWait, gpuvm_syncobj_wait(count: 4, flags: 0, deadline: 0))
        wait.append([gpuvm_sync](repeating: gpuvm_sync(), count: 4))
        let validWait = try wait.finish(serial: 2).bytes
        var accepted = 0
        for iteration in 0..<4000 {
            var bytes = iteration % 3 == 0 ? validWait : valid
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                mutate(&bytes, &random)
            }
            do throws(DecodeFailure) {
                consume(try decode(bytes))
                accepted += 1
            } catch {
                #expect(error.error.code.rawValue > 0, "seed \(seed), iteration \(iteration)")
            }
        }
        #expect(accepted > 100, "seed \(seed): the mutations never get past the header")
    }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SplitMix64) {
        guard !bytes.isEmpty else { return }
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[index] = [0, 0xff, 0x7f, 0x80].randomElement(using: &random) ?? 0
        case 2: bytes.removeLast(Int.random(in: 0...min(bytes.count, 24), using: &random))
        case 3: bytes += [UInt8](repeating: 0xff, count: 8)
        case 4:
            // The counts of the struct behind the header.
            if bytes.count >= 40 { bytes[28 + 4 * Int.random(in: 0..<3, using: &random)] ^= 0xff }
        default:
            // A right length for whatever is left.
            if bytes.count >= 4 {
                bytes.replaceSubrange(
                    0..<4, with: [UInt8(bytes.count & 0xff), UInt8(bytes.count >> 8), 0, 0])
            }
        }
    }

    @Test(arguments: [UInt64(3), 0xcafe])
    func descriptorsNeverLeak(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var files: [FileID] = []
        for iteration in 0..<1500 {
            var list = FDList()
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let fd = try OwnedFD.memfd(name: "fuzz", bytes: 64)
                let number = fd.rawValue
                if Bool.random(using: &random) {
                    #expect(gpuvm_add_seals(fd.rawValue, GPUVM_SEAL_SHRINK | GPUVM_SEAL_WRITE) == 0)
                }
                files.append(try #require(fileID(of: number)))
                list.append(fd)
            }
            let opcode = Opcode.allCases.randomElement(using: &random) ?? .hello
            let size = opcode.shapes.request.fixedBytes
            let external = Bool.random(using: &random)
            let bytes = Hand.message(
                opcode.rawValue, flags: external ? 1 : 0,
                length: external ? UInt32(size) : nil,
                body: external ? [] : [UInt8](repeating: 0, count: size))
            do throws(DecodeFailure) {
                _ = try decode(bytes, fds: list)
            } catch {
                #expect(error.error.code.rawValue > 0, "seed \(seed), iteration \(iteration)")
            }
        }
        #expect(openFiles().isDisjoint(with: files), "seed \(seed)")
    }
}
