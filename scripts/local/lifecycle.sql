-- edges --
-- in a stable order, so that the page changes only where an edge does
select m.title as machine, e.from_status, e.to_status, e.event, e.follow_ups
from voice_clone.edges e join voice_clone.machines m on m.name = e.machine
order by m.position, e.from_status, e.to_status
