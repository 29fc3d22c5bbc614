-- Which 15-minute buckets hold readings that the rollups do not know yet. A block is preceded by its
-- dirty rows, and a bucket is marked clean only after its rollups are written, so a crash in between
-- leaves it dirty. Dirty has the even version 2 × offset and clean the odd one after it, so that a
-- later block makes a bucket dirty again and a repeated one does not.
CREATE TABLE IF NOT EXISTS dirty_buckets {on_cluster}
(
    site_id LowCardinality(String)
        COMMENT 'Site (発電所 / 案件); registry id',
    bucket DateTime('UTC')
        COMMENT 'Start of the 15 minutes [bucket, bucket + 15 min); seconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    log_partition UInt32
        COMMENT 'Partition of heliograph.uploads that the site is on: its owner rolls up'
        CODEC(ZSTD(1)),
    version UInt64
        COMMENT '2 × the highest log_offset of the block when dirty, plus 1 when clean; the highest wins'
        CODEC(Delta, ZSTD(1)),
    dirty UInt8
        COMMENT '1: the rollups of this bucket are behind its readings; 0: they are not'
)
ENGINE = {replacing_merge_tree}(version)
PARTITION BY toYYYYMM(bucket)
ORDER BY (site_id, bucket)
SETTINGS {durability}
COMMENT 'Buckets whose rollups are behind; read with FINAL and dirty = 1';
