/// Request numbers as a client of linux-libc-dev 6.12 sends them.
enum Request {
    static let version: UInt32 = 0xc040_6400
    static let gemClose: UInt32 = 0x4008_6409
    static let getCap: UInt32 = 0xc010_640c
    static let setClientCap: UInt32 = 0x4010_640d
    static let primeHandleToFD: UInt32 = 0xc00c_642d
    static let primeFDToHandle: UInt32 = 0xc00c_642e
    static let getParam: UInt32 = 0xc010_6440
    static let channelAlloc: UInt32 = 0xc058_6442
    static let channelFree: UInt32 = 0x4004_6443
    static let vmInit: UInt32 = 0x4010_6450
    static let vmBind: UInt32 = 0xc028_6451
    static let exec: UInt32 = 0xc028_6452
    static let zcullInfo: UInt32 = 0x8030_6453
    static let gemNew: UInt32 = 0xc030_6480
    static let gemPushbuf: UInt32 = 0xc040_6481
    static let gemCPUPrep: UInt32 = 0x4008_6482
    static let gemCPUFini: UInt32 = 0x4004_6483
    static let gemInfo: UInt32 = 0xc028_6484
    static let syncobjCreate: UInt32 = 0xc008_64bf
    static let syncobjDestroy: UInt32 = 0xc008_64c0
    static let syncobjHandleToFD: UInt32 = 0xc010_64c1
    static let syncobjFDToHandle: UInt32 = 0xc010_64c2
    static let syncobjWait: UInt32 = 0xc028_64c3
    static let syncobjReset: UInt32 = 0xc010_64c4
    static let syncobjSignal: UInt32 = 0xc010_64c5
    static let syncobjTimelineWait: UInt32 = 0xc030_64ca
    static let syncobjQuery: UInt32 = 0xc018_64cb
    static let syncobjTransfer: UInt32 = 0xc020_64cc
    static let syncobjTimelineSignal: UInt32 = 0xc018_64cd
    static let syncobjEventFD: UInt32 = 0xc018_64cf

    /// NVIF comes in the size of its contents.
    static func nvif(_ bytes: Int) -> UInt32 { 0xc000_6447 | UInt32(bytes) << 16 }
}
