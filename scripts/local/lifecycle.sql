-- edges --
-- in a stable order, so that the page changes only where an edge does
select e.machine, e.from_status, e.to_status, e.event, e.follow_ups
from voice_clone.edges e
order by array_position('{status,runtime,preview,enrollment}', e.machine), e.from_status, e.to_status
