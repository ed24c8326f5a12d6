import Fencing
import GPUVMCore
import Glibc

/// Carries out the commands of conformance vectors on a VM and answers as the kernel did.
///
/// The commands and the answers are described in the README of the vectors. A command that is not of
/// their form, or that needs a VM while there is none, is answered by `{"err":"EINVAL"}`.
///
/// Threading: one thread.
public final class VectorInterpreter {
    var vm: GPUVM?
    var objects: [Int: VectorObject] = [:]
    var ops = OpList()
    private let fences = FenceContext()
    private var resultHash = FNV()
    private var resultCount = 0

    /// Fence slots are reserved for real; a vector asks for a few.
    static let maximumSlots = 1 << 16
    static let maximumObject = Int(Int32.max)
    static let reservationObjectID = -2

    /// Creates an interpreter without a VM.
    public init() {}

    deinit { vm?.close() }

    /// Carries one command out and returns the result: compact JSON.
    public func run(command: String) -> String {
        var arguments = CommandArguments(command)
        let result: String
        do throws(CommandArguments.Malformed) {
            let name = try arguments.word()
            if name == "hash" {
                try arguments.end()
                return hash()
            }
            result = try run(name, &arguments)
        } catch {
            result = Self.text(errno: EINVAL)
        }
        resultHash.add(result)
        resultHash.add("\n")
        resultCount += 1
        return result
    }

    private func run(
        _ name: String, _ arguments: inout CommandArguments
    ) throws(CommandArguments.Malformed) -> String {
        if name == "vm" { return try makeVM(&arguments) }
        guard let vm, !vm.isClosed else { throw CommandArguments.Malformed() }
        do {
            return switch name {
            case "map", "map_ops", "unmap", "unmap_ops", "madvise", "madvise_ops", "bo_unmap",
                "bo_unmap_ops", "prefetch":
                try plan(name, vm, &arguments)
            case "bo", "evict", "validate", "lists", "exec_lock", "exec_range", "exec_map",
                "exec_unmap", "refs", "cleanup":
                try lists(name, vm, &arguments)
            default: try look(name, vm, &arguments)
            }
        } catch let error as GPUVMError {
            return Self.text(errno: error.errno)
        } catch let error as ReservationError {
            return Self.text(errno: error.errno)
        } catch {
            throw CommandArguments.Malformed()
        }
    }

    func makeFence() -> Fence { fences.makeFence() }

    private func hash() -> String {
        let (text, count) = dump()
        var dumpHash = FNV()
        dumpHash.add(text)
        return "{\"rh\":\"\(resultHash.text)\",\"n\":\(resultCount),"
            + "\"dh\":\"\(dumpHash.text)\",\"maps\":\(count)}"
    }
}
