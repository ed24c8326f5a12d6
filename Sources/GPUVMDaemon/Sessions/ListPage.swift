import CWireProtocol
import WireProtocol

/// One page of a list whose records are ordered by a key; the cursor is the last key sent.
///
/// Only the records of the page are made: one can cost a walk over a VM.
struct ListPage<Record: BitwiseCopyable> {
    let records: [Record]
    /// 0 when nothing follows.
    let cursor: UInt64

    /// A page stays inline: what does not fit comes with the next request.
    static var limit: Int {
        (Int(GPUVM_MAX_INLINE) - MemoryLayout<gpuvm_header>.size
            - MemoryLayout<gpuvm_page_reply>.size) / MemoryLayout<Record>.stride
    }

    /// The first items whose key, which is unique and not 0, is above `cursor`.
    init<Item>(
        _ items: [Item], after cursor: UInt64, key: (Item) -> UInt64, record: (Item) -> Record
    ) {
        let keyed = items.map { (key: key($0), item: $0) }
            .filter { $0.key > cursor }.sorted { $0.key < $1.key }
        let page = keyed.prefix(Self.limit)
        records = page.map { record($0.item) }
        self.cursor = keyed.count > page.count ? page.last?.key ?? 0 : 0
    }

    /// The reply that carries the page.
    func reply(to message: borrowing IncomingMessage) -> OutgoingMessage {
        var head = gpuvm_page_reply()
        head.count = UInt32(records.count)
        head.cursor = cursor
        var builder = ReplyBuilder(to: message.opcode, serial: message.serial)
        builder.append(head)
        builder.append(contentsOf: records)
        return builder.finishInline()
    }
}
