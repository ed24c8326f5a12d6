/// Memory that a pointer of an ioctl's argument leads to, as the shim copied it.
public struct IoctlBlock: Sendable, Equatable {
    /// 0: the pointer is in the argument; n: in block n-1 of the call.
    public var parent: UInt32
    /// Where the 64-bit pointer is in its parent, bytes.
    public var pointerOffset: UInt32
    /// Whether the block is written back.
    public var isOutput: Bool
    /// What it held; zeros if it is output alone.
    public var contents: IoctlBytes

    /// Describes a block.
    public init(parent: UInt32, pointerOffset: UInt32, isOutput: Bool, contents: IoctlBytes) {
        self.parent = parent
        self.pointerOffset = pointerOffset
        self.isOutput = isOutput
        self.contents = contents
    }
}

/// One ioctl as a program made it, flattened: no pointer is left.
public struct IoctlCall: Sendable {
    /// What is asked for.
    public var request: IoctlRequest
    /// The argument; as long as the program's struct is.
    public var argument: IoctlBytes
    /// What its pointers lead to.
    public var blocks: [IoctlBlock]
    /// The descriptors that the argument names, in the order of the fields. They stay the caller's and
    /// are open as long as the call is being carried out, not until its reply.
    public var descriptors: [Int32]

    /// Describes a call.
    public init(
        request: IoctlRequest, argument: IoctlBytes, blocks: [IoctlBlock] = [],
        descriptors: [Int32] = []
    ) {
        self.request = request
        self.argument = argument
        self.blocks = blocks
        self.descriptors = descriptors
    }

    /// The array of `count` elements that the argument's pointer at `offset` leads to; empty for 0.
    ///
    /// - Throws: EFAULT if it is not there or shorter.
    func array(
        at offset: Int, count: UInt32, stride: Int
    ) throws(IoctlError) -> IoctlBytes {
        guard count != 0 else { return IoctlBytes([]) }
        guard
            let block = blocks.first(where: {
                $0.parent == 0 && Int($0.pointerOffset) == offset
            }), block.contents.count / stride >= Int(count)
        else { throw .fault("the array of \(count) elements at offset \(offset) is not there") }
        return block.contents
    }

    /// Whether the pointer at `offset` leads anywhere.
    func hasBlock(at offset: Int) -> Bool {
        blocks.contains {
            $0.parent == 0 && Int($0.pointerOffset) == offset && $0.contents.count != 0
        }
    }

    /// The index of the block that is written back through the pointer at `offset`.
    func output(at offset: Int) -> Int? {
        blocks.firstIndex {
            $0.parent == 0 && Int($0.pointerOffset) == offset && $0.isOutput
        }
    }
}
