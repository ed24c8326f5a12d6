import Fencing
import GPUVMCore
import PageTables

/// What a fenced job does to move a buffer: from frames to frames, or its first frames.
///
/// In this order: wait for the dependencies, clear the page-table entries that lead to the old frames
/// and invalidate TLBs, take the old frames' owner away, give the new frames theirs. The bytes stay
/// where they are, since the backing of a buffer lives as long as the buffer; what moves is the
/// right to be read at a physical address.
public struct BufferMove: Sendable {
    /// What moves; kept by the job.
    public let buffer: BufferObject
    /// The frames that it loses; nil for a new buffer.
    public let source: BufferFrames?
    /// The frames that it gets.
    public let destination: BufferFrames
    /// What must have signalled before.
    public let dependencies: [Fence]

    /// Carries out the next part of the frame table's change.
    ///
    /// Allocates nothing and cannot fail. Called again until it returns true.
    ///
    /// - Parameters:
    ///   - step: How many parts are done; starts at 0, advanced by this.
    /// - Returns: Whether all is done.
    public func execute(step: inout Int) -> Bool {
        let sourceSteps = source?.stepCount ?? 0
        if step < sourceSteps {
            source?.clear(step)
        } else if step < sourceSteps + destination.stepCount {
            destination.assign(step - sourceSteps, to: buffer.backing.host)
        }
        step += 1
        return step >= sourceSteps + destination.stepCount
    }
}

// Indices and no iterators: an unoptimised build allocates those, and this is the signalling path.
extension BufferFrames {
    /// Frames whose owner changes in one part: what takes some hundred microseconds at most.
    private static let stepBytes: UInt64 = 256 << 20

    fileprivate var stepCount: Int { Int((bytes + Self.stepBytes - 1) / Self.stepBytes) }

    fileprivate func clear(_ step: Int) {
        forEachPiece(step) { piece, _ in region.clear(piece) }
    }

    fileprivate func assign(_ step: Int, to host: UnsafeMutableRawPointer) {
        forEachPiece(step) { piece, offset in region.assign(piece, to: host + Int(offset)) }
    }

    private func forEachPiece(_ step: Int, _ body: (PhysicalExtent, UInt64) -> Void) {
        let first = UInt64(step) * Self.stepBytes
        let end = first + Self.stepBytes
        var offset: UInt64 = 0
        var index = 0
        while index < extents.count && offset < end {
            let extent = extents[index]
            let low = max(first, offset)
            let high = min(end, offset + extent.bytes)
            if low < high {
                body(
                    PhysicalExtent(address: extent.address + (low - offset), bytes: high - low),
                    low)
            }
            offset += extent.bytes
            index += 1
        }
    }
}
